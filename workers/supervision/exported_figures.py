"""What may stand in a figure that a runner left: shapes and text. A browser would run a script that an SVG has."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

PNG_START = b"\x89PNG\r\n\x1a\n"
SVG = "{http://www.w3.org/2000/svg}"
TAGS = frozenset({"svg", "title", "desc", "style", "g", "defs", "path", "use", "text", "clipPath", "rect", "a"})
#: Of a figure; ours have a hundredth of it.
MOST_BYTES = 4 * 2**20
#: Of a style: no sheet, and no address, from elsewhere.
_REACHING = ("@import", "url(", "expression", "\\")


def fault_of(name: str, content: bytes) -> str | None:
    """Why the figure ``name`` is not published; None where it may be."""
    if name.endswith(".png"):
        return None if content.startswith(PNG_START) else "does not begin as a PNG does"
    if b"<!" in content:
        return "declares a document type, or has comments"
    try:
        root = Xml.fromstring(content)
    except (Xml.ParseError, ValueError, RecursionError):
        return "is no XML"
    return next((fault for element in root.iter() if (fault := _fault(element))), None)


def _fault(element: Xml.Element) -> str | None:
    tag = str(element.tag)
    if not tag.startswith(SVG) or tag.removeprefix(SVG) not in TAGS:
        return "has an element that no figure of ours has"
    if tag == f"{SVG}style" and any(word in (element.text or "").lower() for word in _REACHING):
        return "has a style that reaches elsewhere"
    for name, value in element.attrib.items():
        local = name.rpartition("}")[2].lower()
        if local.startswith("on") or local == "style":
            return "has an attribute that no figure of ours has"
        if local in ("href", "src") and not value.startswith("#"):
            return "leads elsewhere"
        if "url(" in value and not value.startswith("url(#"):
            return "leads elsewhere"
    return None
