"""The head of a request, read for more than h11 reads it for: its size, and signs of request smuggling.

Two servers that see different ends of one request can be made to see two requests. h11 is lenient where RFC 9112 lets
a server be: a Transfer-Encoding beside a Content-Length, equal lengths twice, folded lines, bare line feeds. No client
of ours sends these, so each is answered with 400 and the connection is closed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import h11

#: A line feed without its carriage return, a carriage return alone, a line that goes on in the next.
_ODD_LINES = re.compile(rb"(?<!\r)\n|\r(?!\n)|\n[ \t]")
_FRAMING = re.compile(rb"\n(content-length|transfer-encoding)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_END = re.compile(rb"\n\r?\n")
_FIRST_LINE = re.compile(rb"[^\r\n]*")

#: Of what a client may send, the rest of an answer's text is ours.
SHOWN = 60


@dataclass(frozen=True)
class HeadLimits:
    lines: int = 100
    bytes: int = 16 * 1024


class Refused(h11.RemoteProtocolError):
    """A head that is not read further; ``code`` is of ``ERRORS``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class StrictConnection(h11.Connection):
    """h11's parser, which looks at the raw head of each request first. ``refusal`` tells why it stopped."""

    def __init__(self, limits: HeadLimits) -> None:
        super().__init__(h11.SERVER, limits.bytes)
        self._limits = limits
        self.refusal: tuple[str, str] = ("malformed_request", "this is no HTTP request")

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            if self.their_state is h11.IDLE:
                # h11 has no public way to see the bytes that it has not read yet without a copy of them all.
                check_head(self._receive_buffer._data, self._limits)
            return super().next_event()
        except h11.RemoteProtocolError as error:
            self.refusal = _refusal(error)
            raise


def check_head(data: bytearray, limits: HeadLimits) -> None:
    """Raise ``Refused`` for the head that ``data`` begins with, where it is too large or may be read in two ways."""
    end = _END.search(data)
    size = end.end() if end else len(data)
    if size > limits.bytes:
        raise Refused("headers_too_large", f"the head of a request may have {limits.bytes} bytes")
    if data.count(b"\n", 0, size) > limits.lines + 2:
        raise Refused("headers_too_large", f"a request may have {limits.lines} headers")
    if end is None:
        return
    head = bytes(data[:size])
    if _ODD_LINES.search(head):
        raise Refused("malformed_request", "each line of a head ends with CR LF, and none goes on in the next")
    _check_framing(head)


def _check_framing(head: bytes) -> None:
    found = [(name.lower(), value.strip()) for name, value in _FRAMING.findall(head)]
    if not found:
        return
    if len(found) > 1:
        raise Refused("malformed_request", "a request has one Content-Length, or one Transfer-Encoding, and not both")
    name, value = found[0]
    if name == b"content-length" and not value.isdigit():
        raise Refused("malformed_request", "Content-Length is one whole number")
    if name == b"transfer-encoding" and _first_line(head).endswith(b"HTTP/1.0"):
        raise Refused("malformed_request", "HTTP/1.0 has no Transfer-Encoding")


def _first_line(head: bytes) -> bytes:
    found = _FIRST_LINE.match(head)
    return found[0].rstrip() if found else b""


def _refusal(error: h11.RemoteProtocolError) -> tuple[str, str]:
    if isinstance(error, Refused):
        return error.code, str(error)
    code = "headers_too_large" if error.error_status_hint == 431 else "malformed_request"
    return code, f"this is no HTTP request that can be read: {error}"[: SHOWN * 3]
