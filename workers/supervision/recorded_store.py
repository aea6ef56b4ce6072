"""The worker's doors to the store, which tell its recorder and its tracking what the store took, and that its loops
turn.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine

from api_schemas.events import Event, NewEvent
from api_schemas.jobs import Job, Status
from store.cache import CacheStore, Have, Make, Wait
from store.jobs import Claim, Head, JobStore, Lease, LeaseLost
from workers.supervision.recording import Recorder
from workers.tracking.tracking import Tracking

#: The session asks several times a minute, and waits for a database that is away no longer than for its lease.
LEASE_LOOP_SECONDS = 60.0


class RecordedJobs(JobStore):
    """What it is given beyond its own is the ``JobStore``'s."""

    def __init__(
        self, engine: Engine, *given: Any, recorder: Recorder, tracking: Tracking | None = None, **named: Any
    ) -> None:
        super().__init__(engine, *given, **named)
        self._recorder, self._tracking = recorder, tracking or Tracking([], version="")
        #: Of an attempt whose end the database did not confirm.
        self._unanswered_end: Lease | None = None

    def claim(self, *given: Any, **named: Any) -> Claim | None:
        claim = super().claim(*given, **named)
        self._recorder.claimed(claim)
        return claim

    def heartbeat(self, lease: Lease) -> Status:
        self._beat()
        with self._noticing(lease):
            return super().heartbeat(lease)

    def heads(self, job_ids: Collection[str]) -> dict[str, Head]:
        self._beat()
        return super().heads(job_ids)

    def record(self, lease: Lease, event: NewEvent, after: int | None = None) -> Event:
        self._beat()
        with self._noticing(lease):
            kept = super().record(lease, event, after)
        self._recorder.told(event)
        self._tracking.told(event)
        return kept

    def finish(self, lease: Lease, event: NewEvent, artifact: str | None = None, size: int | None = None) -> Job:
        with self._ending(lease, size):
            job = super().finish(lease, event, artifact, size)
        self._ended(job, size)
        return job

    def release(self, lease: Lease, *given: Any, **named: Any) -> Job:
        with self._ending(lease):
            job = super().release(lease, *given, **named)
        self._ended(job)
        return job

    def hand_back(self, lease: Lease, *given: Any, **named: Any) -> Job:
        with self._ending(lease):
            job = super().hand_back(lease, *given, **named)
        self._ended(job)
        return job

    @contextmanager
    def _noticing(self, lease: Lease) -> Iterator[None]:
        """Around what is written under the lease: whether that is lost, and was not given up by our own end."""
        try:
            yield
        except LeaseLost:
            if lease != self._unanswered_end:
                self._lost()
            raise

    @contextmanager
    def _ending(self, lease: Lease, size: int | None = None) -> Iterator[None]:
        """Around the last write under the lease. One whose answer was lost is asked for again while the lease holds:
        where the lease is over then, it was that write that ended it.
        """
        try:
            yield
        except LeaseLost:
            ended = self._ended_by(lease)
            self._ended(ended, size) if ended else self._lost()
            raise
        except Exception:
            self._unanswered_end = lease
            raise

    def _ended_by(self, lease: Lease) -> Job | None:
        """What became of the job by an end of ours that was not answered; None where there was none."""
        if lease != self._unanswered_end or (found := self.get_few([lease.job_id]).get(lease.job_id)) is None:
            return None
        _, job = found
        return None if job.status.active or job.attempt != lease.attempt else job

    def _ended(self, job: Job, size: int | None = None) -> None:
        self._recorder.ended(job, size)
        self._tracking.ended(job)

    def _lost(self) -> None:
        self._recorder.lost()
        self._tracking.lost()

    def _beat(self) -> None:
        # Before the question: a loop that hangs in one has not turned.
        self._recorder.turned(within=max(LEASE_LOOP_SECONDS, self._lease_seconds))


class RecordedCache(CacheStore):
    """``count`` is called with the kind of a thing, and ``hit`` or ``miss``."""

    def __init__(self, engine: Engine, count: Callable[[str, str], None]) -> None:
        super().__init__(engine)
        self._count = count

    def take(self, lease: Lease, kind: str, fingerprint: str) -> Have | Make | Wait:
        found = super().take(lease, kind, fingerprint)
        outcome = {Have: "hit", Make: "miss"}.get(type(found))
        if outcome is not None:
            self._count(kind, outcome)
        return found
