"""The files that pages load: their style, their scripts and their icon. Addresses name their content's hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from figures.style import COLOURS
from service.edge.root_path import address

FOLDER = Path(__file__).parent / "static"

#: What is served, by its ending; nothing else is.
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

#: Of an address that names the content, and of one that does not.
IMMUTABLE, ASKED_AGAIN = "public, max-age=31536000, immutable", "no-cache"


@dataclass(frozen=True)
class Asset:
    content: bytes
    media_type: str
    version: str


def _figures_css() -> bytes:
    """The colours of figures that stand in a page, light or dark as the page is."""
    rules = [
        f".fig-{name}{end}{{{kind}:light-dark({shades.light},{shades.dark})}}"
        for name, shades in COLOURS.items()
        for end, kind in (("", "fill"), ("-line", "stroke"))
    ]
    # A figure lies on a card, whose colour is not quite its paper's.
    paper = ".card .fig-paper{fill:var(--surface)}.card .fig-paper-line{stroke:var(--surface)}"
    return "\n".join((*rules, paper, "")).encode()


def _asset(name: str, content: bytes) -> Asset:
    return Asset(content, MEDIA_TYPES[Path(name).suffix], hashlib.sha256(content).hexdigest()[:16])


ASSETS = {
    **{
        path.name: _asset(path.name, path.read_bytes())
        for path in sorted(FOLDER.iterdir())
        if path.suffix in MEDIA_TYPES
    },
    "figures.css": _asset("figures.css", _figures_css()),
}


def asset_address(name: str) -> str:
    return f"{address('/ui/static/')}{name}?v={ASSETS[name].version}"
