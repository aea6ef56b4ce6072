"""What matplotlib writes, made small, plain and safe: no style, no prolog, no metadata, nothing from elsewhere.

Colours stand as attributes, so that any viewer has them, and as classes, by which a page or the figure itself gives
others. All text is text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple
from xml.etree import ElementTree as Xml

from figures.style import COLOURS, Inks, Theme, dark_rules

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
#: Of the machine that shows it: what is measured by DejaVu, a wide one, is as wide or narrower in these.
FONTS = "system-ui, sans-serif"
_NAMES = {shades.light: name for name, shades in COLOURS.items()}
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
#: What is drawn the same without it.
_DEFAULTS = {
    "stroke-linejoin": "round", "stroke-opacity": "1", "fill-opacity": "1", "opacity": "1", "stroke-dashoffset": "0",
    "text-anchor": "start", "stroke-linecap": "butt",
}  # fmt: skip
#: Where a link of a figure may lead.
_LEADS = re.compile(r"(https?://|/(?![/\\]))[^\s\x00-\x1f]*")


class Link(NamedTuple):
    href: str
    title: str


def cleaned(
    raw: str, *, name: str, title: str, alt: str, links: Mapping[str, Link], theme: Theme | None, prefix: str | None
) -> str:
    """``theme`` None: to stand in a page, which has the colours."""
    root = Xml.fromstring(raw)
    _drop_furniture(root)
    for element in root.iter():
        _tidy(element, classes=theme in (None, "auto"), dark=theme == "dark")
    _link(root, links)
    _flatten(root)
    _name_ids(root, prefix or f"fig-{hashlib.sha256(raw.encode()).hexdigest()[:10]}")
    _describe(root, name, title, alt, theme, linked=bool(links))
    Xml.register_namespace("", SVG)
    text = Xml.tostring(root, encoding="unicode")
    return text if theme is None else f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _drop_furniture(root: Xml.Element) -> None:
    for child in list(root):
        if child.tag == f"{{{SVG}}}metadata" or child.find(f"{{{SVG}}}style") is not None:
            root.remove(child)


def _tidy(element: Xml.Element, *, classes: bool, dark: bool) -> None:
    """One element's style as attributes, colours by name, what is needless left out."""
    element.tail = None
    tag = element.tag.removeprefix(f"{{{SVG}}}")
    element.text = (element.text or "") if tag == "text" else None
    style = dict(_declared(element.attrib.pop("style", "")))
    if tag == "text":
        style |= {"font-family": FONTS, "fill": style.get("fill", COLOURS["ink"].light)}
    names = []
    for kind, end in (("fill", ""), ("stroke", "-line")):
        colour = style.get(kind, element.get(kind))
        part = _NAMES.get(colour or "")
        if part is not None:
            style[kind] = Inks.of("dark")[part] if dark else str(colour)
            names.append(f"fig-{part}{end}")
    element.attrib.update({key: value for key, value in style.items() if value != _DEFAULTS.get(key)})
    if names and classes:
        element.set("class", " ".join(names))
    _shorten(element)


def _declared(style: str) -> list[tuple[str, str]]:
    pairs = (part.partition(":") for part in style.split(";"))
    return [(name.strip(), value.strip()) for name, _, value in pairs if value.strip()]


def _shorten(element: Xml.Element) -> None:
    href = element.attrib.pop(f"{{{XLINK}}}href", None)
    if href is not None:
        element.set("href", href)
    if "d" in element.attrib:
        element.set("d", re.sub(r"-?\d+\.\d+", _rounded, " ".join(element.attrib["d"].split())))
    for key in ("x", "y", "width", "height"):
        if key in element.attrib:
            element.set(key, re.sub(r"-?\d+\.\d+", _rounded, element.attrib[key]))
    if "transform" in element.attrib:
        turned = element.attrib["transform"]
        if turned.startswith("rotate(-0 "):
            del element.attrib["transform"]
        else:
            element.set("transform", re.sub(r"-?\d+\.\d+", _rounded, turned))


def _rounded(found: re.Match[str]) -> str:
    return f"{round(float(found[0]), 2) + 0.0:g}"


def _link(root: Xml.Element, links: Mapping[str, Link]) -> None:
    """What is called as a link becomes one, with its title for who comes to it with the keyboard."""
    parents = {child: parent for parent in root.iter() for child in parent}
    for element in [element for element in root.iter() if element.get("id") in links]:
        link = links[element.attrib.pop("id")]
        if not _LEADS.fullmatch(link.href):
            continue
        parent = parents[element]
        anchor = Xml.Element(f"{{{SVG}}}a", {"href": link.href, "aria-label": link.title})
        Xml.SubElement(anchor, f"{{{SVG}}}title").text = link.title
        parent.insert(list(parent).index(element), anchor)
        parent.remove(element)
        anchor.append(element)


def _flatten(root: Xml.Element) -> None:
    """Take away ids that nothing names, and groups that say nothing."""
    used = set(_references(root))
    for element in root.iter():
        if element.get("id") is not None and element.get("id") not in used:
            del element.attrib["id"]
    _unwrap(root)


def _unwrap(element: Xml.Element) -> None:
    children: list[Xml.Element] = []
    for child in list(element):
        _unwrap(child)
        if child.tag == f"{{{SVG}}}g" and not child.attrib:
            children += list(child)
        elif child.tag != f"{{{SVG}}}defs" or len(child):
            children.append(child)
    for child in list(element):
        element.remove(child)
    element.extend(children)


def _references(root: Xml.Element) -> list[str]:
    found = []
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "href" and value.startswith("#"):
                found.append(value[1:])
            found += _REFERENCE.findall(value)
    return found


def _name_ids(root: Xml.Element, prefix: str) -> None:
    numbers: dict[str, str] = {}
    for element in root.iter():
        if (old := element.get("id")) is not None:
            numbers[old] = f"{prefix}-{len(numbers)}"
            element.set("id", numbers[old])
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            if key == "href" and value.startswith("#"):
                element.set(key, f"#{numbers[value[1:]]}")
            elif "url(#" in value:
                element.set(key, _REFERENCE.sub(lambda found: f"url(#{numbers[found[1]]})", value))
    root.set("id", prefix)


def _describe(root: Xml.Element, name: str, title: str, alt: str, theme: Theme | None, *, linked: bool) -> None:
    prefix = root.get("id", "")
    for key in ("version", "width", "height"):
        root.attrib.pop(key, None)
    _, _, width, height = root.get("viewBox", "").split()
    # What is within an image is not there for a screen reader: with links, it is a group.
    root.attrib.update({
        "width": width, "height": height, "class": f"fig fig-of-{name}", "role": "group" if linked else "img",
        "stroke-linejoin": "round",
        "aria-labelledby": f"{prefix}-title {prefix}-desc",
    })  # fmt: skip
    told = [
        Xml.Element(f"{{{SVG}}}title", {"id": f"{prefix}-title"}),
        Xml.Element(f"{{{SVG}}}desc", {"id": f"{prefix}-desc"}),
    ]
    told[0].text, told[1].text = title, alt
    if theme == "auto":
        style = Xml.Element(f"{{{SVG}}}style")
        used = {name for element in root.iter() for name in element.get("class", "").split()}
        style.text = dark_rules(used)
        told.append(style)
    for at, element in enumerate(told):
        root.insert(at, element)
