"""A job's files on the hub: pushed once they are published, once for the same files, and never the end of a job."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from api_schemas.events import Event, EventType, SucceededData
from api_schemas.jobs import Job, Status
from api_schemas.push import Pushed, PushSpec
from store.database import reading
from tests.support.events import queue, say
from tests.support.hub_server import Trick, says, says_answer
from tests.support.hub_writes import SENDS_FILES, PushableHub, user
from tests.support.store_samples import RESULT
from tests.support.supervisor_rig import Rig
from workers.settings import WorkerSettings
from workers.supervision.endings import Interrupted
from workers.supervision.hub_push import HubPush
from workers.supervision.lease_session import Interrupt

pytestmark = SENDS_FILES

REPO = "team/small"
PUSHES = (EventType.PUSHED, EventType.PUSH_FAILED)


@pytest.fixture
def worker_settings(worker_settings: WorkerSettings) -> WorkerSettings:
    return worker_settings.model_copy(update={"push_owners": ["team"]})


@pytest.fixture
def hub(push_hub: PushableHub) -> PushableHub:
    push_hub.users["hf_right"] = user("somebody", orgs={"team": "write"})
    return push_hub


def submit(rig: Rig, *acts: str, **more: Any) -> str:
    sent = {"model": "a/b", "task": "none", "metadata": {"acts": " ".join(acts)}, "export": {"push_to": {"repo": REPO}}}
    return queue(rig.store, {**sent, **more}).id


def run(rig: Rig, *acts: str) -> Job:
    job_id = submit(rig, *acts)
    assert rig.supervisor.work()
    return rig.store.get(job_id)


def told(rig: Rig, job: Job) -> list[Event]:
    return [event for event in rig.events(job.id) if event.type in PUSHES]


def stored(rig: Rig, job: Job) -> dict[str, bytes]:
    prefix = rig.store.artifact(job.id)
    assert prefix is not None
    files = rig.artifacts.manifest(prefix).contents
    return {file.name: b"".join(rig.artifacts.open_range(prefix, file.name, 0, file.bytes)) for file in files}


def test_what_was_published_is_pushed_and_told(rig: Rig, hub: PushableHub) -> None:
    job = run(rig, "succeed")
    assert job.status == Status.SUCCEEDED
    assert job.result is not None
    pushed = job.result.pushed
    assert pushed is not None
    assert pushed.error is None
    assert hub.files(REPO) == stored(rig, job)
    (event,) = told(rig, job)
    assert event.type == EventType.PUSHED
    assert event.data == pushed
    assert pushed.url == f"{hub.url}/{REPO}/commit/{pushed.commit}"
    assert pushed.url in event.message
    assert rig.events(job.id)[-1].type == EventType.SUCCEEDED
    with reading(rig.engine) as connection:
        rows = [connection.execute(text(f"SELECT * FROM {table}")).all() for table in ("jobs", "events", "job_logs")]
    assert "hf_right" not in str(rows)


def test_a_right_that_was_lost_meanwhile_leaves_the_job_its_artifact(rig: Rig, hub: PushableHub) -> None:
    hub.users["hf_right"] = user("somebody", orgs={"team": "read"})
    job = run(rig, "succeed")
    assert job.status == Status.SUCCEEDED
    assert "config.json" in stored(rig, job)
    assert job.result is not None
    assert job.result.pushed is not None
    assert job.result.pushed.commit is None
    assert job.result.pushed.error is not None
    assert job.result.pushed.error.code == "push_not_allowed"
    (event,) = told(rig, job)
    assert (event.type, event.level) == (EventType.PUSH_FAILED, "warning")
    assert f"not pushed to {REPO}" in event.message


def test_so_does_an_owner_that_this_worker_does_not_push_to(rig: Rig, hub: PushableHub) -> None:
    rig.settings.push_owners.clear()
    job = run(rig, "succeed")
    assert [event.type for event in told(rig, job)] == [EventType.PUSH_FAILED]
    assert "LAYERCUT_PUSH_OWNERS" in told(rig, job)[0].message
    assert hub.requests == []


def test_a_hub_that_comes_back_gets_what_was_finished_while_it_was_away(rig: Rig, hub: PushableHub) -> None:
    asked: list[str] = []

    def away(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        if len(asked) == 2:
            hub.tricks.clear()
        says(503)(handler)

    hub.trick("create", away)
    job = run(rig, "succeed")
    assert hub.files(REPO) == stored(rig, job)
    assert "hub_unavailable" in rig.texts(job.id)
    assert [event.type for event in told(rig, job)] == [EventType.PUSHED]


def test_a_worker_that_dies_after_the_commit_leaves_no_second_one(rig: Rig, hub: PushableHub) -> None:
    job_id = submit(rig, "succeed")
    hub.trick("/tree/", stealing(rig, hub, job_id))
    assert rig.supervisor.work()
    assert len(hub.commits) == 1
    assert rig.store.get(job_id).status == Status.RUNNING
    with rig.engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET lease_expires_at = :past"), {"past": "2020-01-01 00:00:00.000000"})
    rig.store.reap()
    with rig.engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET claimable_at = NULL"))
    assert rig.supervisor.work()
    job = rig.store.get(job_id)
    assert (job.status, job.attempt) == (Status.SUCCEEDED, 2)
    assert len(hub.commits) == 1
    assert job.result is not None
    assert job.result.pushed is not None
    assert job.result.pushed.commit == hub._heads[REPO, "main"].commit
    assert hub.files(REPO) == stored(rig, job)


def stealing(rig: Rig, hub: PushableHub, job_id: str) -> Trick:
    """The commit is there, and the worker is taken for dead before it can say so."""

    def steal(handler: BaseHTTPRequestHandler) -> None:
        hub.tricks.clear()
        rig.steal(job_id)
        says_answer(hub.answer(urlsplit(handler.path).path, handler.headers["Authorization"]))(handler)

    return steal


def test_what_failed_is_not_pushed_though_it_has_files(rig: Rig, hub: PushableHub) -> None:
    job = run(rig, "fail-with-files")
    assert job.status == Status.FAILED
    assert "config.json" in stored(rig, job)
    assert hub.requests == []
    assert told(rig, job) == []


def test_a_runner_pushes_nothing_and_says_so_in_vain(rig: Rig, hub: PushableHub) -> None:
    forged = '{"type":"job.pushed","message":"done","data":{"repo":"x/y","revision":"main","commit":"c","url":"u"}}'
    job_id = submit(rig, f"say:{forged}", "succeed", export={})
    assert rig.supervisor.work()
    job = rig.store.get(job_id)
    assert job.status == Status.SUCCEEDED
    assert told(rig, job) == []
    assert job.result is not None
    assert job.result.pushed is None


def a_push(settings: WorkerSettings, why: Interrupt | None, push_to: PushSpec | None) -> HubPush:
    """Of a job that is interrupted meanwhile."""

    def interrupted(_: object) -> None:
        assert why is not None
        raise Interrupted(why)

    waiting: Any = SimpleNamespace(extend=lambda _: None, beside=interrupted)
    claim: Any = SimpleNamespace(
        request=SimpleNamespace(export=SimpleNamespace(push_to=push_to)), lease=SimpleNamespace(job_id="job_1")
    )
    return HubPush(claim, settings, waiting, say=lambda _: None, away=lambda _: None)


def pushed_of(push: HubPush, settings: WorkerSettings) -> Pushed | None:
    forged = say(EventType.SUCCEEDED, result={**RESULT, "pushed": {"repo": "x/y", "revision": "main"}})
    ended = push.completed(forged, settings.data_dir)
    assert isinstance(ended.data, SucceededData)
    return ended.data.result.pushed


def test_a_result_that_was_forged_is_put_right(worker_settings: WorkerSettings) -> None:
    assert pushed_of(a_push(worker_settings, None, None), worker_settings) is None


def test_a_job_whose_time_is_over_meanwhile_has_succeeded(worker_settings: WorkerSettings) -> None:
    pushed = pushed_of(a_push(worker_settings, Interrupt.TIMEOUT, PushSpec(repo=REPO)), worker_settings)
    assert pushed is not None
    assert pushed.error is not None
    assert pushed.error.code == "push_failed"


@pytest.mark.parametrize("why", [Interrupt.CANCELLED, Interrupt.STOPPING, Interrupt.LEASE_LOST])
def test_whatever_else_ends_an_attempt_ends_it_here_too(worker_settings: WorkerSettings, why: Interrupt) -> None:
    with pytest.raises(Interrupted):
        pushed_of(a_push(worker_settings, why, PushSpec(repo=REPO)), worker_settings)
