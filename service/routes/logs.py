"""The log of a job: what its runners said, by offsets in bytes, or live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from sse_starlette import ServerSentEvent
from starlette.concurrency import run_in_threadpool

from api_schemas.logs import LogPage, LogPiece
from service.callers import Own
from service.negotiation import Accept, preferred
from service.openapi import problems
from service.routes.events import RECONNECT, STREAM, number_of, stream
from service.state import State

router = APIRouter(prefix="/v1/jobs/{job_id}/logs", tags=["jobs"])

PLAIN = "text/plain"
OFFERS = ("application/json", PLAIN, STREAM)

#: Of an answer, in bytes.
LEAST, MOST = 16, 2**20
#: What a database's column holds.
LARGEST = 2**63 - 1

STREAM_EXAMPLE = (
    'id: 4\nevent: log\ndata: {"offset":0,"attempt":1,"created_at":"2026-01-01T00:00:00Z","text":"one\\n"}\n\n'
)

#: Of plain text, which says no more than what was said.
HEADERS = {
    "Next-Offset": {"schema": {"type": "integer"}, "description": "of plain text: where to go on"},
    "Log-Start": {"schema": {"type": "integer"}, "description": "of plain text: what lies before it is not kept"},
}


@router.get(
    "",
    name="read_log",
    response_model=LogPage,
    responses={
        200: {
            "headers": HEADERS,
            "content": {
                PLAIN: {"schema": {"type": "string"}, "example": "one\n"},
                STREAM: {"schema": {"type": "string"}, "example": STREAM_EXAMPLE},
            },
        },
        204: {"description": "as a stream: the job has ended and all was seen"},
        **problems("job_not_found", "expired", "not_acceptable"),
    },
)
async def read_log(
    job_id: str,
    state: State,
    own: Own,
    *,
    accept: Accept = None,
    last_event_id: Annotated[str | None, Header(description="of a stream: go on at this offset")] = None,
    offset: Annotated[int, Query(ge=0, le=LARGEST, description="in bytes; `next_offset` of the page before")] = 0,
    limit: Annotated[
        int, Query(description="of a page, in bytes: 16 to 1 MiB; what lies outside is brought inside")
    ] = 64 * 1024,
) -> LogPage | Response:
    """What the job's runners said. As `text/event-stream`: live, closed when the job has ended and all is sent."""
    kind = preferred(accept, OFFERS)
    if kind == STREAM:
        return await _stream(state, own, job_id, max(offset, number_of(last_event_id, LARGEST)))
    page = await run_in_threadpool(own.log, job_id, offset, min(max(limit, LEAST), MOST))
    return _plain(page) if kind == PLAIN else page


def _plain(page: LogPage) -> Response:
    headers = {"Next-Offset": str(page.next_offset), "Log-Start": str(page.start)}
    return Response("".join(piece.text for piece in page.data), media_type=PLAIN, headers=headers)


async def _stream(state: State, own: Own, job_id: str, offset: int) -> Response:
    head = await state.feed.head(own, job_id)
    # Says where the log begins and whether it is there at all.
    first = await run_in_threadpool(own.log, job_id, offset, LEAST)
    if first.complete and not first.data:
        return Response(status_code=204)
    at = first.data[0].offset if first.data else first.next_offset
    return stream(state, _messages(state.feed.log(job_id, at, head)))


async def _messages(pieces: AsyncIterator[LogPiece]) -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent(retry=RECONNECT, sep="\n")
    async for piece in pieces:
        yield ServerSentEvent(piece.model_dump_json(), id=str(piece.end), event="log", sep="\n")
