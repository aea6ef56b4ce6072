"""An answer made of pieces: bytes, and parts of stored files, which the kernel sends where it can."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.edge.file_sending import ZERO_COPY_SEND
from store.archives import FilePart, Piece
from store.reading import OpenFiles


class PiecesResponse(StreamingResponse):
    """Sends ``pieces`` of ``files``, and closes them. Whoever gives ``headers`` says how long they are together.

    What cannot be read breaks the connection off: the client sees that less came than was announced.
    """

    def __init__(
        self, pieces: Sequence[Piece], files: OpenFiles, status: int, headers: Mapping[str, str], media_type: str
    ) -> None:
        super().__init__(iter(()), status, headers, media_type)
        self._pieces, self._files = pieces, files
        self._zero_copy = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._zero_copy = ZERO_COPY_SEND in scope.get("extensions", {})
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._files.close()

    async def stream_response(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for piece in self._pieces:
            async for message in self._messages(piece):
                await send({**message, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _messages(self, piece: Piece) -> AsyncIterator[dict[str, Any]]:
        if isinstance(piece, bytes):
            yield {"type": "http.response.body", "body": piece}
        elif self._zero_copy and (file := self._files.handle(piece.name)):
            yield {"type": ZERO_COPY_SEND, "file": file, "offset": piece.start, "count": piece.count}
        else:
            async for block in self._files.blocks(piece):
                yield {"type": "http.response.body", "body": block}


def names_of(pieces: Sequence[Piece]) -> list[str]:
    """The files that the pieces are parts of, in the order of the pieces."""
    return list(dict.fromkeys(piece.name for piece in pieces if isinstance(piece, FilePart)))
