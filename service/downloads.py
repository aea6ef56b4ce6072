"""Files over HTTP as RFC 9110 and 9530 have them: one range, strong validators, a digest of the whole file.

Starlette's own file response makes its ETag of time and size, and reads from a path; an artifact is known by its
sha256 and may lie in an object store.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from api_schemas.errors import LayercutError

# Blanks go with the digits before them: where they could be counted to either side, a long header takes hours.
_RANGE = re.compile(r"\s*bytes\s*=\s*(?:([0-9]+)\s*)?-\s*(?:([0-9]+)\s*)?", re.IGNORECASE)

#: Of a position; more digits lie past the end of any file, and int() refuses thousands of them.
MAX_DIGITS = 18

ReadBytes = Callable[[int, int], Iterator[bytes]]


class OutsideFile(LayercutError):
    """The range starts past the end; carries the header that says how long the file is."""

    def __init__(self, header: str, size: int) -> None:
        super().__init__("range_not_satisfiable", f"{header[:80]!r} lies outside a file of {size} bytes")
        self.headers = {"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"}


def send_file(
    request: Request, *, name: str, size: int, sha256: str, media_type: str, read: ReadBytes, attachment: bool = True
) -> Response:
    """Answer GET or HEAD for one file. ``read(start, end)`` yields the bytes of the half-open range."""
    etag = f'"sha256-{sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Repr-Digest": f"sha-256=:{b64encode(bytes.fromhex(sha256)).decode()}:",
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    if _matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    if attachment:
        headers["Content-Disposition"] = _disposition(name)
    wanted = _wanted(request, size, etag)
    start, end = wanted or (0, size)
    headers["Content-Length"] = str(end - start)
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    status = 206 if wanted else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    return StreamingResponse(read(start, end), status, headers, media_type=media_type)


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


def _matches(if_none_match: str | None, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return etag in tags or "*" in tags


def _disposition(path: str) -> str:
    name = path.rsplit("/", 1)[-1]
    quoted = quote(name)
    return f'attachment; filename="{name}"' if quoted == name else f"attachment; filename*=utf-8''{quoted}"
