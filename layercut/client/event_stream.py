"""Server-sent events as they come in: bytes become messages, wherever they were cut (WHATWG HTML, 9.2.6)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MEDIA_TYPE = "text/event-stream"
#: Of one message; those of the service have half a megabyte at most.
LONGEST = 16 * 2**20

_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True)
class Message:
    id: str
    data: str


class TooLong(ValueError):
    """A message that never ends."""


class EventStream:
    """Of one connection."""

    def __init__(self) -> None:
        self._rest = b""
        self._id = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, block: bytes) -> Iterator[Message]:
        """The messages that are whole with ``block``. Raises ``TooLong``."""
        for line in self._lines(block):
            self._size += len(line)
            if line:
                self._take(line)
            else:
                yield from self._message()
        if self._size + len(self._rest) > LONGEST:
            raise TooLong

    def _lines(self, block: bytes) -> list[bytes]:
        text = self._rest + block
        # A line that ends with CR may go on with LF, which is the same end.
        *lines, self._rest = _END.split(text[:-1] if text.endswith(b"\r") else text)
        self._rest += b"\r" if text.endswith(b"\r") else b""
        return lines

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")

    def _message(self) -> Iterator[Message]:
        data, self._data, self._size = self._data, [], 0
        if data:
            yield Message(self._id, b"\n".join(data).decode("utf-8", "replace"))
