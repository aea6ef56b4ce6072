"""Files over HTTP as RFC 9110 and 9530 have them: one range, strong validators, a digest of the whole file.

Starlette's own file response makes its ETag of time and size, and reads from a path; an artifact is known by its
sha256 and may lie in an object store.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import Response

from api_schemas.errors import LayercutError
from service.sending import PiecesResponse
from store.archives import Piece
from store.reading import OpenFiles

# Blanks go with the digits before them: where they could be counted to either side, a long header takes hours.
_RANGE = re.compile(r"\s*bytes\s*=\s*(?:([0-9]+)\s*)?-\s*(?:([0-9]+)\s*)?", re.IGNORECASE)

#: Of a position; more digits lie past the end of any file, and int() refuses thousands of them.
MAX_DIGITS = 18


@dataclass(frozen=True)
class Representation:
    """What is sent: ``sha256`` is that of its ``size`` bytes, which ``pieces`` names for a half-open range. They are
    read from what ``open`` gives, which raises where a file is missing.
    """

    name: str
    size: int
    sha256: str
    media_type: str
    pieces: Callable[[int, int], list[Piece]]
    open: Callable[[list[Piece]], OpenFiles]


#: Has somebody else send the whole, or a range, where that is wanted: takes the headers.
HandOver = Callable[[dict[str, str]], Response | None]


class OutsideFile(LayercutError):
    """The range starts past the end; carries the header that says how long the file is."""

    def __init__(self, header: str, size: int) -> None:
        super().__init__("range_not_satisfiable", f"{header[:80]!r} lies outside a file of {size} bytes")
        self.headers = {"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"}


def send(
    request: Request,
    what: Representation,
    *,
    attachment: bool = True,
    is_fixed: bool = False,
    hand_over: HandOver = lambda _: None,
) -> Response:
    """Answer GET or HEAD. ``is_fixed``: nothing else is ever at this address; else another attempt at the job may
    deliver another. Raises ``range_not_satisfiable``, and as ``what.open`` does."""
    etag = f'"sha256-{what.sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Repr-Digest": f"sha-256=:{b64encode(bytes.fromhex(what.sha256)).decode()}:",
        "Cache-Control": "private, max-age=31536000, immutable" if is_fixed else "private, no-cache",
    }
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    if attachment:
        headers["Content-Disposition"] = _disposition(what.name)
    return hand_over(headers) or _send_range(request, what, _wanted(request, what.size, etag), headers)


def _send_range(
    request: Request, what: Representation, wanted: tuple[int, int] | None, headers: dict[str, str]
) -> Response:
    start, end = wanted or (0, what.size)
    headers["Content-Length"] = str(end - start)
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{what.size}"
    status = 206 if wanted else 200
    pieces = what.pieces(start, end)
    files = what.open(pieces)  # of HEAD too: what is missing is missing
    if request.method == "HEAD":
        files.close()
        return Response(status_code=status, headers=headers, media_type=what.media_type)
    return PiecesResponse(pieces, files, status, headers, what.media_type)


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """The one half-open range that ``header`` asks for; None where the whole file is the answer.

    That is so for several ranges, other units and what is no range at all (RFC 9110 §14.2 lets a server ignore them).
    Raises ``range_not_satisfiable`` for one that starts past the end.
    """
    found = _RANGE.fullmatch(header)
    first, last = found.groups("") if found else ("", "")
    if not first and not last:
        return None
    if not first:
        start, end = max(0, size - _position(last)), size
    else:
        start, end = _position(first), min(size, _position(last) + 1) if last else size
        if last and _position(last) < start:
            return None
    if start >= size or not end - start:
        raise OutsideFile(header, size)
    return start, end


def _position(digits: str) -> int:
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= MAX_DIGITS else 10**MAX_DIGITS


def _wanted(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    header = request.headers.get("range")
    # A date in If-Range never matches: there is no Last-Modified here. A weak tag never does either.
    if header is None or request.headers.get("if-range", etag).strip() != etag:
        return None
    return parse_range(header, size)


def matches(if_none_match: str | None, etag: str) -> bool:
    """Whether ``If-None-Match`` has ``etag``."""
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return etag in tags or "*" in tags


def _disposition(path: str) -> str:
    name = path.rsplit("/", 1)[-1]
    quoted = quote(name)
    return f'attachment; filename="{name}"' if quoted == name else f"attachment; filename*=utf-8''{quoted}"
