"""One tracking service beside the attempts of a worker: told in a thread of its own, which nobody waits for.

What is told waits in a queue that is bounded. While the service is away it is told the same again, after pauses; what
does not fit is left out, points of curves first. Of a job that has ended it is told for a while yet.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

from api_schemas.events import Level
from workers.tracking.backend import Backend, Trouble
from workers.tracking.entries import Begin, End, Entry, Files, Params, Point

log = logging.getLogger("layercut.tracking")

#: Entries that wait; points are left out before the queue is full of them.
MOST_WAITING = 1000
#: Points that are told in one call.
POINTS_AT_ONCE = 200
#: Between two tries while the service is away.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
#: So long a job that has ended is still told of: a server is restarted in that time.
LATER_SECONDS = 300.0

#: Hears what keeps the service from being told of the attempt, and that it no longer does; each once.
Tell = Callable[[str, Level], None]


@dataclass
class _Run:
    """One attempt, as far as one service is told of it."""

    job_id: str
    tell: Tell
    until: float = float("inf")
    begun: bool = False
    given_up: bool = False
    #: Why nothing can be told now, and what could not be told for good.
    away: str | None = None
    complaints: list[str] = field(default_factory=list)
    left_out: int = 0


class Tracker:
    """Of one worker and service. ``close`` ends its thread; all else returns at once, from any thread."""

    def __init__(self, backend: Backend, *, later_seconds: float = LATER_SECONDS) -> None:
        self._backend, self._later = backend, later_seconds
        self._change = threading.Condition()
        self._waiting: deque[tuple[_Run, Entry]] = deque()
        self._busy = self._closed = False
        self._run: _Run | None = None
        self._thread = threading.Thread(target=self._work, name=f"tracking-{backend.name}", daemon=True)
        self._thread.start()

    def begin(self, run: Begin, tell: Tell) -> None:
        """An attempt begins. ``tell`` is called from this service's thread."""
        self._run = _Run(run.job_id, tell)
        self._put(run)

    def put(self, entry: Entry) -> None:
        """Have the service told ``entry`` of the attempt that was begun last."""
        if self._run is None:
            return
        if isinstance(entry, End):
            self._run.until = time.monotonic() + self._later
        self._put(entry)
        if isinstance(entry, End):
            self._run = None

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the run of the attempt that was begun last, in words for its report."""
        run = self._run
        if run is None:
            return []
        now = run.away or (None if run.begun or run.complaints else self._said("it has not answered yet"))
        return [*run.complaints, *([now] if now else [])]

    def flush(self, seconds: float) -> bool:
        """Return when all is told, or after so many ``seconds``; whether it is."""
        with self._change:
            return self._change.wait_for(lambda: not (self._waiting or self._busy), seconds)

    def close(self, seconds: float) -> None:
        """Tell what waits for so many ``seconds`` at most; what is left then is lost."""
        self.flush(seconds)
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._thread.join(1.0)

    def _put(self, entry: Entry) -> None:
        assert self._run is not None
        with self._change:
            if isinstance(entry, Point) and len(self._waiting) >= MOST_WAITING:
                self._run.left_out += 1
                return
            self._waiting.append((self._run, entry))
            self._change.notify_all()

    def _work(self) -> None:
        try:
            self._backend.prepare()
        except Exception as error:  # noqa: BLE001 - the first call says it again, of a job
            log.warning("%s: %s", self._backend.name, self._backend.trouble(error).why)
        while (taken := self._take()) is not None:
            run, entries = taken
            self._persist(run, entries)
            with self._change:
                self._busy = False
                self._change.notify_all()

    def _take(self) -> tuple[_Run, list[Entry]] | None:
        """What is told next in one call; None at the end."""
        with self._change:
            self._change.wait_for(lambda: self._closed or self._waiting)
            if self._closed:
                return None
            self._busy = True
            run, first = self._waiting.popleft()
            entries = [first]
            while isinstance(first, Point) and len(entries) < POINTS_AT_ONCE and self._more_points(run):
                entries.append(self._waiting.popleft()[1])
            return run, entries

    def _more_points(self, run: _Run) -> bool:
        return bool(self._waiting) and self._waiting[0][0] is run and isinstance(self._waiting[0][1], Point)

    def _persist(self, run: _Run, entries: list[Entry]) -> None:
        """Tell them until the service takes them, or time is up. A service that does not know the run is told no more
        of it.
        """
        pause = FIRST_PAUSE_SECONDS
        while not run.given_up and (trouble := self._try(run, entries)) is not None:
            left = run.until - time.monotonic()
            if not trouble.passes:
                self._complain(run, trouble.why)
                run.given_up = isinstance(entries[0], Begin)
                break
            self._away(run, trouble.why)
            if left <= 0 or self._closed:
                run.given_up = True
                break
            with self._change:
                self._change.wait_for(lambda: self._closed, min(pause, left))
            pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)
        if isinstance(entries[0], End):
            self._over(run)

    def _try(self, run: _Run, entries: list[Entry]) -> Trouble | None:
        try:
            self._tell(entries)
        except Exception as error:
            log.debug("%s", self._backend.name, exc_info=True)
            return self._backend.trouble(error)
        run.begun = True
        if run.away is not None:
            run.away = None
            self._say(run, f"tracking by {self._backend.name}: it answers again", "info")
        return None

    def _tell(self, entries: list[Entry]) -> None:
        match entries[0]:
            case Begin() as run:
                self._backend.begin(run)
            case Params() as more:
                self._backend.params(more)
            case Point():
                self._backend.points([entry for entry in entries if isinstance(entry, Point)])
            case Files() as files:
                self._backend.files(files)
            case End() as end:
                self._backend.end(end)
            case other:
                assert_never(other)

    def _over(self, run: _Run) -> None:
        self._backend.drop()
        if run.given_up or run.left_out:
            log.warning("job %s: its run of %s is incomplete", run.job_id, self._backend.name)

    def _away(self, run: _Run, why: str) -> None:
        if run.away is None:
            run.away = self._said(why)
            self._say(run, run.away, "warning")

    def _complain(self, run: _Run, why: str) -> None:
        said = self._said(why)
        if said not in run.complaints:
            run.complaints.append(said)
            self._say(run, said, "warning")

    def _say(self, run: _Run, text: str, level: Level) -> None:
        log.log(logging.getLevelNamesMapping()[level.upper()], "job %s: %s", run.job_id, text)
        run.tell(text, level)

    def _said(self, why: str) -> str:
        return f"tracking by {self._backend.name}: {why}. The job goes on; its run there may be incomplete"
