"""The files that pages load: their style, their scripts and their icon. Addresses name their content's hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

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


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(content, MEDIA_TYPES[path.suffix], hashlib.sha256(content).hexdigest()[:16])


ASSETS = {path.name: _read(path) for path in sorted(FOLDER.iterdir()) if path.suffix in MEDIA_TYPES}


def asset_address(name: str) -> str:
    return f"{address('/ui/static/')}{name}?v={ASSETS[name].version}"
