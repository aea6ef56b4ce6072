"""What passes by itself is tried again, for a while: docs/api.md has the contract."""

from __future__ import annotations

import math
import random
import time

from pydantic import ValidationError

from api_schemas.errors import Problem
from layercut.client.errors import Broken, InvalidAnswer, LayercutApiError, Unreachable
from layercut.client.steps import Answer, Ask, Flow, Open, Pause, Request

#: Statuses that pass where the answer says when. 507 is none of them: somebody has to make room.
PASSING = frozenset({409, 429, 503})
#: What a proxy says while nothing of ours is behind it.
GATEWAYS = frozenset({502, 503, 504})
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
#: For a service that was never reached, which may have another address.
STRANGER_SECONDS = 4.0
PROBLEM = "application/problem+json"


class Patience:
    """Of one client: for how many ``seconds`` what passes is tried again, counted from when it began."""

    clock = staticmethod(time.monotonic)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        #: Whether the service has answered yet.
        self.reached = False

    def begin(self) -> Retries:
        return Retries(self)


class Retries:
    """Of one thing that is asked for."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._began: float | None = None
        self._pause = FIRST_PAUSE

    def heard(self) -> None:
        """The service is there: what breaks next is waited for anew."""
        self._began = None

    def went_on(self) -> None:
        """What is waited for has moved: nor is it waited for longer than the first time."""
        self._began, self._pause = None, FIRST_PAUSE

    def after_break(self, request: Request, why: Exception) -> float:
        """Seconds to wait before the next try; raises ``Unreachable`` when there is to be none."""
        most = self._patience.seconds if self._patience.reached else min(STRANGER_SECONDS, self._patience.seconds)
        pause = self._pause * random.uniform(0.5, 1.0)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        if self._waited() + pause > most:
            raise Unreachable(f"{request}: {why}") from why
        return pause

    def after_refusal(self, answer: Answer) -> float:
        """Seconds to wait; raises ``LayercutApiError`` for what does not pass, or not in time."""
        error = refusal(answer)
        if answer.status in GATEWAYS and error.code is None:
            try:
                return self.after_break(answer.request, error)
            except Unreachable:
                raise error from None
        asked = _seconds(answer.headers.get("retry-after"))
        if answer.status not in PASSING or asked is None or self._waited() + asked > self._patience.seconds:
            raise error
        return asked

    def _waited(self) -> float:
        now = self._patience.clock()
        if self._began is None:
            self._began = now
        return now - self._began

    def reached(self) -> None:
        self._patience.reached = True


def ask(request: Request, patience: Patience, *, absent: int | None = None) -> Flow[Answer]:
    """The answer that is no refusal; ``absent`` is a status that is one as well.

    Raises ``LayercutApiError`` and ``Unreachable``.
    """
    return (yield from _persistently(Ask(request), patience.begin(), absent))


def open_stream(request: Request, retries: Retries, *, block: int = 0) -> Flow[Answer]:
    """As ``ask``, of an answer that streams."""
    return (yield from _persistently(Open(request, block), retries, None))


def _persistently(step: Ask | Open, retries: Retries, absent: int | None) -> Flow[Answer]:
    while True:
        try:
            answer: Answer = yield step
        except Broken as why:
            yield Pause(retries.after_break(step.request, why))
            continue
        retries.reached()
        if answer.leads_elsewhere:
            # Followed where it is harmless; a POST or DELETE that is sent elsewhere would be another request.
            where = answer.headers.get("location", "nowhere")[:200]
            raise InvalidAnswer(f"{step.request}: {answer.status} leads to {where}: give the address that answers")
        if not answer.refused or answer.status == absent:
            return answer
        yield Pause(retries.after_refusal(answer))


def refusal(answer: Answer) -> LayercutApiError:
    """What a refusing answer says. Raises nothing: a body that is none of ours is told by its status."""
    request_id = answer.headers.get("x-request-id")
    if answer.is_a(PROBLEM):
        try:
            problem = Problem.model_validate_json(answer.body)
        except ValidationError:
            pass
        else:
            return LayercutApiError(
                answer.status,
                problem.code,
                problem.detail,
                problem=problem,
                request_id=problem.request_id or request_id,
            )
    return LayercutApiError(answer.status, None, f"{answer.request} was refused", request_id=request_id)


def expect(answer: Answer, media_type: str) -> None:
    """Raise ``InvalidAnswer`` for one of another kind."""
    if not answer.is_a(media_type):
        found = answer.headers.get("content-type", "nothing")[:80]
        raise InvalidAnswer(f"{answer.request}: {found} came, not {media_type}: is this a layercut service?")


def _seconds(retry_after: str | None) -> float | None:
    try:
        seconds = float(retry_after or "")
    except ValueError:  # a date: none of ours says when by one
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
