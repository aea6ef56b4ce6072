"""Commits whose answer is lost: what they did may be there, or may yet be, and counts once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from api_schemas.errors import LayercutError
from api_schemas.events import Event, EventType, NewEvent
from api_schemas.jobs import Status
from store.jobs import JobStore, Lease
from tests.support.events import say
from tests.support.supervisor_rig import FAKE_RUNNER, UNLOCKED, Rig, no_inputs
from workers.supervision.supervisor import Supervisor

UNANSWERED = OperationalError("COMMIT", {}, psycopg.OperationalError("the answer is lost"))


def talk_to(rig: Rig, store: JobStore) -> None:
    """The rig's supervisor from now on talks to this store."""
    rig.supervisor.close()
    rig.supervisor = Supervisor(
        store, rig.cache, rig.artifacts, rig.settings,
        command=FAKE_RUNNER, worker="rig", stage=no_inputs, sandbox=UNLOCKED,
    )  # fmt: skip


class StalledStore(JobStore):
    """Its disk stalls at the commit of an end, for longer than the lease lasts: ``go_on`` is when it is written."""

    over: Callable[[], None]
    go_on: Callable[[], Any]

    def finish(self, *given: Any) -> Any:
        self.over()
        self.go_on = lambda: JobStore.finish(self, *given)
        raise UNANSWERED


def test_files_stay_while_nobody_knows_whether_their_job_has_succeeded(rig: Rig) -> None:
    store = StalledStore(rig.engine, rig.settings.lease_seconds)
    store.over = lambda: setattr(rig.settings, "lease_seconds", 0.0)
    talk_to(rig, store)
    job_id = rig.submit("succeed")
    with pytest.raises(LayercutError, match="the database does not answer"):
        rig.supervisor.work()
    store.go_on()
    assert rig.store.get(job_id).status == Status.SUCCEEDED
    prefix = rig.store.artifact(job_id)
    assert prefix is not None
    assert rig.artifacts.manifest(prefix).files


class ForgetfulStore(JobStore):
    """The answer to the first ``record`` of each event gets lost, though it was kept."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._asked: set[str] = set()

    def record(self, lease: Lease, event: NewEvent, after: int | None = None) -> Event:
        kept = super().record(lease, event, after)
        if event.message not in self._asked:
            self._asked.add(event.message)
            raise UNANSWERED
        return kept


def test_an_event_whose_answer_is_lost_is_written_once_and_told_once(rig: Rig) -> None:
    talk_to(rig, ForgetfulStore(rig.engine, rig.settings.lease_seconds))
    job = rig.run("log:one", "log:two", "log:two", "succeed")
    assert job.status == Status.SUCCEEDED
    told = [event.message for event in rig.events(job.id)][2:]
    assert told == ["one", "two", "two", "publishing", "succeeded"]


def test_a_cancel_between_two_tries_hides_no_event_that_was_written(rig: Rig) -> None:
    job_id = rig.submit()
    claim = rig.store.claim("w")
    assert claim is not None
    line, other = say(EventType.LOG, "line"), say(EventType.LOG, "other")
    first = rig.store.record(claim.lease, line, 0)
    rig.store.cancel(job_id)
    assert rig.store.record(claim.lease, line, 0) == first
    assert rig.store.record(claim.lease, other, first.number).message == "other"
    assert rig.store.record(claim.lease, other, first.number + 2).number == 6, "the same again is another event"
    assert [event.number for event in rig.events(job_id)] == [1, 2, 3, 4, 5, 6]
