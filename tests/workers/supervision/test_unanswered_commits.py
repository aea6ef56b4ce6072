"""Commits whose answer is lost: what they did may be there, or may yet be, and counts once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from api_schemas.errors import LayercutError
from api_schemas.jobs import Status
from store.jobs import JobStore
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
