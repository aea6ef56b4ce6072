"""``multipart/form-data`` as it streams in: its parts one after the other, and nothing kept of them.

Read by python-multipart, which Starlette uses too; but that would first write each file to a disk of the gateway.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api_schemas.errors import LayercutError

#: Of one part: headers, and bytes of each.
MAX_HEADERS, MAX_HEADER = 8, 4096
#: Of a field that is no file.
MAX_FIELD = 4096
MEDIA_TYPE = "multipart/form-data"

_DATA, _END, _OVER = "data", "end", "over"


class Part:
    """One part. ``filename`` is None where it has none; ``blocks`` are to be read before the next part is asked for."""

    def __init__(self, name: str, filename: str | None, blocks: Iterator[bytes]) -> None:
        self.name, self.filename, self.blocks = name, filename, blocks

    def text(self) -> str:
        """Of a short field; raises ``malformed_request``."""
        found = bytearray()
        for block in self.blocks:
            found += block
            if len(found) > MAX_FIELD:
                raise _malformed(f"the field {self.name[:80]!r} has more than {MAX_FIELD} bytes")
        try:
            return found.decode()
        except UnicodeDecodeError:
            raise _malformed(f"the field {self.name[:80]!r} is not UTF-8") from None


class Form:
    """Of the bytes that ``blocks`` gives, by the ``Content-Type`` of the request."""

    def __init__(self, content_type: str, blocks: Iterator[bytes]) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise _malformed("multipart/form-data needs its boundary: let your client write the Content-Type")
        self._blocks = blocks
        self._events: deque[tuple[str, Any]] = deque()
        self._headers: list[tuple[bytearray, bytearray]] = []
        calls: Any = {
            "on_part_begin": self._headers.clear,
            "on_header_begin": lambda: self._headers.append((bytearray(), bytearray())),
            "on_header_field": lambda data, start, end: self._headers[-1][0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._headers[-1][1].extend(data[start:end]),
            "on_headers_finished": lambda: self._events.append(("part", dict(_lowered(self._headers)))),
            "on_part_data": lambda data, start, end: self._events.append((_DATA, data[start:end])),
            "on_part_end": lambda: self._events.append((_END, None)),
            "on_end": lambda: self._events.append((_OVER, None)),
        }
        try:
            self._parser = MultipartParser(
                boundary,
                calls,
                max_header_count=MAX_HEADERS,
                max_header_size=MAX_HEADER,
            )
        except FormParserError as error:
            raise _malformed(str(error)) from None

    def parts(self) -> Iterator[Part]:
        """Raises ``malformed_request`` for what is no form, or ends too soon."""
        while (event := self._event())[0] != _OVER:
            name, filename = _disposition(event[1])
            blocks = self._data()
            yield Part(name, filename, blocks)
            for _ in blocks:  # what nobody has read
                pass
        for _ in self._blocks:  # behind the last boundary nothing counts
            pass

    def _data(self) -> Iterator[bytes]:
        while (event := self._event())[0] == _DATA:
            yield event[1]

    def _event(self) -> tuple[str, Any]:
        while not self._events:
            block = next(self._blocks, b"")
            if not block:
                raise _malformed("it ends before its last boundary")
            try:
                self._parser.write(block)
            except FormParserError as error:
                raise _malformed(str(error)[:200]) from None
        return self._events.popleft()


def _lowered(headers: list[tuple[bytearray, bytearray]]) -> Iterator[tuple[bytes, bytes]]:
    return ((bytes(name).lower(), bytes(value)) for name, value in headers)


def _disposition(headers: dict[bytes, bytes]) -> tuple[str, str | None]:
    """The part's name, and its filename where it has one."""
    kind, options = parse_options_header(headers.get(b"content-disposition", b""))
    name, filename = options.get(b"name"), options.get(b"filename")
    if kind.lower() != b"form-data" or name is None:
        raise _malformed('each part has Content-Disposition: form-data; name="…"')
    if headers.get(b"content-transfer-encoding", b"binary").strip().lower() not in (b"binary", b"8bit", b"7bit"):
        raise _malformed("a part is sent as it is: Content-Transfer-Encoding is no more in use")
    return _decoded(name), None if filename is None else _decoded(filename)


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise _malformed("the name of a part is not UTF-8") from None


def _malformed(why: str) -> LayercutError:
    return LayercutError("malformed_request", f"the form cannot be read: {why}")
