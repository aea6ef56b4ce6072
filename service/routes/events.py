"""Events of a job: a page of JSON, or a stream that goes on until the job has ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import AppStatus
from starlette.concurrency import run_in_threadpool

from api_schemas.events import Event, EventList
from service.callers import Own
from service.negotiation import Accept, preferred
from service.openapi import problems
from service.state import State

router = APIRouter(prefix="/v1/jobs/{job_id}/events", tags=["events"])

# The library would cut streams off in the middle of their answer, half a second after the signal. Ours end by
# themselves, whole and at once: `Feed.stop`.
AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]

STREAM = "text/event-stream"

# How long a watcher waits before it connects again, in milliseconds.
RECONNECT = 2000

STREAM_EXAMPLE = 'id: 7\nevent: job.stage\ndata: {"number": 7, "type": "job.stage", "data": {"stage": "pruning"}}\n\n'


@router.get(
    "",
    response_model=EventList,
    responses={
        200: {"content": {STREAM: {"schema": {"type": "string"}, "example": STREAM_EXAMPLE}}},
        204: {"description": "as a stream: the job has ended and every event was seen"},
        **problems("job_not_found", "not_acceptable"),
    },
)
async def list_events(
    job_id: str,
    state: State,
    own: Own,
    *,
    accept: Accept = None,
    last_event_id: Annotated[str | None, Header(description="of a stream: go on after this number")] = None,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="go on after this number")] = 0,
    limit: Annotated[
        int, Query(description="of a page: 1 to 1000, fewer of large ones; what lies outside is brought inside")
    ] = 100,
) -> EventList | Response:
    """Numbered from 1 without gaps. As `text/event-stream`: replayed, then live, closed after the terminal event."""
    if preferred(accept, ("application/json", STREAM)) == STREAM:
        return await _stream(state, own, job_id, max(after, number_of(last_event_id)))
    data, has_more = await run_in_threadpool(own.events, job_id, after, min(max(limit, 1), 1000))
    return EventList(data=data, has_more=has_more)


async def _stream(state: State, own: Own, job_id: str, after: int) -> Response:
    head = await state.feed.head(own, job_id)
    if head.status.terminal and after >= head.number:
        # The one status that tells a browser's EventSource not to come back.
        return Response(status_code=204)
    return stream(state, _messages(state.feed.events(job_id, after, head)))


def stream(state: State, messages: AsyncIterator[ServerSentEvent]) -> EventSourceResponse:
    """An answer that goes on, kept open with comments while there is nothing to tell."""
    return EventSourceResponse(
        messages,
        ping=state.settings.sse_heartbeat_seconds,
        ping_message_factory=lambda: ServerSentEvent(comment="still here"),
        sep="\n",
    )


async def _messages(events: AsyncIterator[Event]) -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent(retry=RECONNECT, sep="\n")
    async for event in events:
        yield ServerSentEvent(event.model_dump_json(), id=str(event.number), event=event.type.value, sep="\n")


def number_of(last_event_id: str | None, most: int = 2**31 - 1) -> int:
    """What is no number was not ours: the stream then starts at the beginning."""
    text = (last_event_id or "").strip()
    return min(int(text), most) if text.isascii() and text.isdecimal() and len(text) < 20 else 0
