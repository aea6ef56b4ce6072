"""What a job does while it is watched: events, its log, its end. Of what breaks, nothing is missed or comes twice."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from api_schemas.event_types import EventType
from api_schemas.events import EVENT, Event
from api_schemas.jobs import Job
from api_schemas.logs import LogPage, LogPiece
from layercut.client.answers import JSON, path_of
from layercut.client.calls import Calls
from layercut.client.errors import Broken, InvalidAnswer, WaitTimeout
from layercut.client.event_stream import MEDIA_TYPE, EventStream, Message, TooLong
from layercut.client.retries import Patience, Retries, expect, open_stream
from layercut.client.steps import Flow, Item, Pause, Read, Request

Told = TypeVar("Told")

NOTHING_LEFT = 204
#: The service says something every fifteen.
SILENCE_SECONDS = 60.0
#: What one question waits for a change; and no more often is asked for a job that changes all the time.
LONG_POLL_SECONDS, LEAST_SECONDS = 30.0, 0.5

_KNOWN = frozenset(EventType)
_LOG_PIECE: TypeAdapter[LogPiece] = TypeAdapter(LogPiece)


class Watching:
    def __init__(self, calls: Calls, patience: Patience) -> None:
        self._calls, self._patience = calls, patience

    def events(self, id: str, after: int, timeout: float | None) -> Flow[None]:
        """Each ``Event`` after that number, to the last of the job. Types that this version does not know are passed
        over. Raises ``WaitTimeout`` when the job has not ended within ``timeout`` seconds.
        """
        path, end = path_of("jobs", id, "events"), math.inf if timeout is None else self._patience.clock() + timeout
        ended, at = yield from self._follow(path, after, _event, end)
        if ended:
            return
        job = yield from self._calls.get(id)
        if not job.status.terminal:
            raise WaitTimeout(job, timeout or 0.0)
        yield from self._follow(path, at, _event, math.inf)  # all that is left is there

    def log(self, id: str, offset: int) -> Flow[None]:
        """Each ``LogPiece`` from that byte on, to the end of the job."""
        yield from self._follow(path_of("jobs", id, "logs"), offset, _LOG_PIECE.validate_json, math.inf)

    def log_so_far(self, id: str, offset: int) -> Flow[None]:
        while True:
            request = Request("GET", path_of("jobs", id, "logs"), {"Accept": JSON}, {"offset": offset})
            page = yield from self._calls.show(LogPage, request)
            for piece in page.data:
                yield Item(piece)
            if page.complete or not page.data:
                return
            offset = page.next_offset

    def wait(self, id: str, timeout: float | None) -> Flow[Job]:
        """The job once it has ended; raises ``WaitTimeout`` when it has not within ``timeout`` seconds."""
        clock = self._patience.clock
        began = asked = clock()
        job = yield from self._calls.get(id)
        while not job.status.terminal:
            left = LONG_POLL_SECONDS if timeout is None else timeout - (clock() - began)
            if left <= 0:
                raise WaitTimeout(job, timeout or 0.0)
            yield Pause(max(0.0, min(left, LEAST_SECONDS - (clock() - asked))))
            asked = clock()
            job = yield from self._calls.get(id, wait=max(1.0, min(left, LONG_POLL_SECONDS)))
        return job

    def _follow(self, path: str, at: int, read: Callable[[str], Told | None], end: float) -> Flow[tuple[bool, int]]:
        """What ``read`` makes of each message after ``at``. Brings whether the job has ended (else the clock is at
        ``end``), and the last that came. The service says something every fifteen seconds: ``end`` is seen within that.

        A gateway that stops ends its streams as one whose job has ended does: that nothing is left, only a further
        question tells.
        """
        retries = self._patience.begin()
        while (left := end - self._patience.clock()) > 0:
            silence = min(SILENCE_SECONDS, left)
            request = Request("GET", path, {"Accept": MEDIA_TYPE, "Last-Event-ID": str(at)}, silence=silence)
            answer = yield from open_stream(request, retries)
            if answer.status == NOTHING_LEFT:
                return True, at
            expect(answer, MEDIA_TYPE)
            at, why = yield from _messages(request, at, read, retries, lambda: self._patience.clock() >= end)
            if why is not None:
                yield Pause(min(left, retries.after_break(request, why)))
        return False, at


def _messages(
    request: Request, at: int, read: Callable[[str], Told | None], retries: Retries, late: Callable[[], bool]
) -> Flow[tuple[int, Broken | None]]:
    """Of the stream that is open: where it ended, and why, unless it ended by itself after something had come, or
    because it is ``late``.
    """
    stream, before = EventStream(), at
    try:
        while block := (yield Read()):
            retries.heard()
            for message in stream.feed(block):
                place = _place(request, message)
                if place <= at:
                    continue
                at = place
                retries.went_on()
                found = _read(request, message, read)
                if found is not None:
                    yield Item(found)
            if late():
                return at, None
    except Broken as why:
        return at, why
    except TooLong:
        raise InvalidAnswer(f"{request}: a message that does not end") from None
    return at, None if at > before else Broken("the stream ended, and the job has not")


def _place(request: Request, message: Message) -> int:
    if not (message.id.isascii() and message.id.isdecimal() and len(message.id) < 20):
        raise InvalidAnswer(f"{request}: a message whose id is {message.id[:40]!r}, not a number")
    return int(message.id)


def _read(request: Request, message: Message, read: Callable[[str], Told | None]) -> Told | None:
    try:
        return read(message.data)
    except ValidationError as error:
        wrong = error.errors()[0]["msg"]
        raise InvalidAnswer(f"{request}: message {message.id} is none of this version: {wrong}") from None


def _event(data: str) -> Event | None:
    try:
        return EVENT.validate_json(data)
    except ValidationError:
        if _is_of_later_version(data):
            return None
        raise


def _is_of_later_version(data: str) -> bool:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return False
    kind = found.get("type") if isinstance(found, dict) else None
    return isinstance(kind, str) and kind not in _KNOWN
