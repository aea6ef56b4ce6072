"""Retry, delete, bulk cancel and what has expired, at the HTTP door."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from api_schemas.events import EventType
from api_schemas.jobs import Status
from service.feed import Feed
from service.retention import ROW_STEPS, expire_files, sweep, sweep_deleted, sweep_job
from service.settings import GatewaySettings
from service.state import GatewayState
from store.artifacts import ArtifactStore
from store.columns import later
from store.jobs import Head
from store.sweeping import Sweeper
from store.tables import deleted_jobs, jobs
from tests.support.events import say
from tests.support.gateway_worker import claim, succeed

STREAM = {"Accept": "text/event-stream"}
ERROR = {"code": "training_diverged", "message": "it diverged"}
MISSING = "/v1/jobs/job_000000000000000000000000"


def fail(state: GatewayState) -> str:
    taken = claim(state)
    return state.store.finish(taken.lease, say(EventType.FAILED, error=ERROR)).id


def past(state: GatewayState, **columns: float) -> None:
    """Move times of all jobs so many seconds into the past."""
    with state.engine.begin() as connection:
        connection.execute(update(jobs).values({name: later(-seconds) for name, seconds in columns.items()}))


def stored(settings: GatewaySettings, job_id: str) -> set[str]:
    root = settings.data_dir / "artifacts" / "jobs" / job_id
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_a_retry_is_accepted_wakes_a_worker_and_is_no_error_twice(
    client: TestClient, state: GatewayState, body: dict[str, Any]
) -> None:
    job = client.post("/v1/jobs", json=body).json()
    fail(state)
    first, second = (client.post(job["urls"]["retry"]) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert first.headers["Location"] == job["urls"]["self"]
    assert (first.json()["status"], first.json()["error"]) == ("queued", None)
    assert first.json()["queued_at"] > first.json()["created_at"]
    assert claim(state).lease.attempt == 2


def test_what_cannot_be_retried_or_deleted_is_a_conflict_with_what_would_do(
    client: TestClient, state: GatewayState, body: dict[str, Any], finished: str
) -> None:
    answer = client.post(f"/v1/jobs/{finished}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_not_retryable")
    job = client.post("/v1/jobs", json=body).json()
    for status in ("queued", "running", "cancelling"):
        for call, path in ((client.delete, job["urls"]["self"]), (client.post, job["urls"]["retry"])):
            answer = call(path)
            if (status, call) == ("queued", client.post):
                continue
            assert (answer.status_code, answer.json()["code"]) == (409, "job_not_terminal")
            assert f"the job is {status}" in answer.json()["detail"]
        if status == "queued":
            claim(state)
        else:
            client.post(job["urls"]["cancel"])
    assert client.post(f"{MISSING}/retry").status_code == client.delete(MISSING).status_code == 404


def test_a_full_queue_takes_no_retry(
    client: TestClient, settings: GatewaySettings, state: GatewayState, body: dict[str, Any]
) -> None:
    job = client.post("/v1/jobs", json=body).json()
    fail(state)
    client.post("/v1/jobs", json=body)
    state.settings.max_queued_jobs = 1
    assert client.post(job["urls"]["retry"]).json()["code"] == "queue_full"
    assert client.get(job["urls"]["self"]).json()["status"] == "failed"


def test_streams_of_a_retried_job_go_past_the_earlier_end(
    client: TestClient, state: GatewayState, body: dict[str, Any]
) -> None:
    job = client.post("/v1/jobs", json=body).json()
    fail(state)
    ended = client.get(job["urls"]["events"], headers=STREAM).text
    assert ended.count("event: job.") == 3
    assert client.get(job["urls"]["events"], headers={**STREAM, "Last-Event-ID": "3"}).status_code == 204
    state.store.retry(job["id"])
    fail(state)
    for last, expected in ((None, 6), ("3", 3), ("2", 4)):
        headers = STREAM if last is None else {**STREAM, "Last-Event-ID": last}
        assert client.get(job["urls"]["events"], headers=headers).text.count("event: job.") == expected
    assert client.get(job["urls"]["events"], headers={**STREAM, "Last-Event-ID": "6"}).status_code == 204


def test_who_watches_while_others_still_read_the_first_end_sees_the_second(
    state: GatewayState, client: TestClient, body: dict[str, Any]
) -> None:
    job_id = client.post("/v1/jobs", json=body).json()["id"]
    fail(state)

    async def watch() -> tuple[list[int], list[int]]:
        feed = Feed(state.store, 0.02)
        async with feed.running():
            early = feed.events(job_id, 0, await feed.head(state.store, job_id))
            slow = [(await anext(early)).number]
            await asyncio.to_thread(state.store.retry, job_id)
            late = feed.events(job_id, 3, await feed.head(state.store, job_id))
            seen = [(await anext(late)).number]
            await asyncio.to_thread(fail, state)
            seen += [event.number async for event in late]
            slow += [event.number async for event in early]
            return slow, seen

    assert asyncio.run(watch()) == ([1, 2, 3, 4, 5, 6], [4, 5, 6])


def test_who_watches_a_job_that_is_deleted_before_its_end_was_seen_is_let_go(
    state: GatewayState, client: TestClient, body: dict[str, Any]
) -> None:
    job_id = client.post("/v1/jobs", json=body).json()["id"]

    async def watch() -> None:
        feed = Feed(state.store, 0.02)
        head = await feed.head(state.store, job_id)
        told, lines = feed.events(job_id, 0, head), feed.log(job_id, 0, head)
        assert (await anext(told)).number == 1
        waiting = [asyncio.ensure_future(anext(stream, None)) for stream in (told, lines)]
        changed = asyncio.create_task(feed.changed(state.store, job_id, 3600))
        while not (job_id in feed._logs and feed._channels[job_id].watchers == 2):
            await asyncio.sleep(0)
        for step in (state.store.cancel, state.store.delete):
            await asyncio.to_thread(step, job_id)
        async with feed.running():
            assert await asyncio.wait_for(asyncio.gather(*waiting), 20) == [None, None]
            await asyncio.wait_for(changed, 20)
        behind = feed.events(job_id, 0, Head(3, Status.RUNNING, 0))
        assert [event async for event in behind] == [], "nor is one that has still to be told something"

    asyncio.run(watch())


def test_who_watches_a_log_while_others_still_read_the_first_end_sees_the_second(
    state: GatewayState, client: TestClient, body: dict[str, Any]
) -> None:
    job_id = client.post("/v1/jobs", json=body).json()["id"]

    def run() -> None:
        lease = claim(state).lease
        state.store.write_log(lease, "said\n", at=state.store.log_end(lease), keep=2**20)
        state.store.finish(lease, say(EventType.FAILED, error=ERROR))

    async def watch() -> list[str]:
        feed = Feed(state.store, 0.02)
        await asyncio.to_thread(run)
        async with feed.running():
            early = feed.log(job_id, 0, await feed.head(state.store, job_id))
            assert (await anext(early)).offset == 0
            await asyncio.to_thread(state.store.retry, job_id)
            late = feed.log(job_id, 5, await feed.head(state.store, job_id))
            first = asyncio.ensure_future(anext(late))
            await asyncio.to_thread(run)
            seen = [(await first).text, *[piece.text async for piece in late]]
            await early.aclose()  # type: ignore[attr-defined]
            return seen

    assert asyncio.run(watch()) == ["said\n"]


def test_a_deleted_job_is_gone_with_its_files(
    client: TestClient, settings: GatewaySettings, state: GatewayState, finished: str
) -> None:
    assert stored(settings, finished)
    first, second = (client.delete(f"/v1/jobs/{finished}") for _ in range(2))
    assert (first.status_code, first.content, second.status_code) == (204, b"", 204)
    for path in ("", "/events", "/report", "/files", "/download"):
        assert client.get(f"/v1/jobs/{finished}{path}").status_code == 404
    sweep_deleted(state)
    assert stored(settings, finished) == set()

    # A worker that was cut off still writes for it.
    (settings.data_dir / "late").mkdir()
    (settings.data_dir / "late" / "model.safetensors").write_bytes(b"late")
    state.artifacts.publish(f"jobs/{finished}/attempts/1-late", settings.data_dir / "late")
    with state.engine.begin() as connection:
        connection.execute(update(deleted_jobs).values(deleted_at=later(-3600), sweep_at=later(-1)))
    sweep_deleted(state)
    assert stored(settings, finished) == set()
    assert state.retention.deleted() == []


def test_one_job_whose_files_cannot_be_deleted_stops_no_other(
    client: TestClient, settings: GatewaySettings, state: GatewayState, body: dict[str, Any], tmp_path: Path
) -> None:
    ids = []
    for number in range(3):
        ids.append(client.post("/v1/jobs", json=body).json()["id"])
        succeed(state, claim(state), tmp_path / str(number))

    class Stuck(ArtifactStore):
        def delete(self, prefix: str) -> None:
            if ids[0] in prefix:
                raise PermissionError(prefix)
            super().delete(prefix)

    for job_id in ids:
        client.delete(f"/v1/jobs/{job_id}")
    sweep_deleted(GatewayState(**{**vars(state), "artifacts": Stuck(settings.artifacts_url)}))
    assert [bool(stored(settings, job_id)) for job_id in ids] == [True, False, False]
    assert state.retention.deleted() == [], "it is put off, and tried again"
    with state.engine.begin() as connection:
        connection.execute(update(deleted_jobs).values(sweep_at=later(-1)))
    sweep_deleted(state)
    assert stored(settings, ids[0]) == set()


@pytest.mark.parametrize("path", ["report", "files", "files/model.safetensors", "download"])
def test_files_that_are_no_longer_kept_are_gone_and_it_is_said_since_when(
    client: TestClient, settings: GatewaySettings, state: GatewayState, finished: str, path: str
) -> None:
    job = client.get(f"/v1/jobs/{finished}").json()
    assert job["expires_at"] > job["finished_at"]
    past(state, expires_at=1, finished_at=3600, sweep_at=1)
    expire_files(state)
    answer = client.get(f"/v1/jobs/{finished}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (410, "expired")
    assert "were kept until 20" in answer.json()["detail"]
    sweep(state)
    assert stored(settings, finished) == set()
    assert client.get(f"/v1/jobs/{finished}").json()["result"] == job["result"]


@pytest.mark.parametrize("artifact_days", [0, 730])
def test_files_that_are_kept_for_longer_than_events_can_still_be_downloaded(
    client: TestClient, state: GatewayState, finished: str, artifact_days: float
) -> None:
    state.settings.artifact_days, state.settings.event_days = artifact_days, 1
    past(state, finished_at=2 * 86_400, expires_at=-730 * 86_400)
    if not artifact_days:
        with state.engine.begin() as connection:
            connection.execute(update(jobs).values(expires_at=None))
    for step in ROW_STEPS:
        step(state)
    assert client.get(f"/v1/jobs/{finished}/download").status_code == 200

    past(state, expires_at=1)
    for step in ROW_STEPS:
        step(state)
    assert client.get(f"/v1/jobs/{finished}").status_code == 404


def test_many_are_cancelled_by_a_filter(client: TestClient, state: GatewayState, body: dict[str, Any]) -> None:
    marked = {**body, "metadata": {"team": "search"}}
    ids = [client.post("/v1/jobs", json=sent).json()["id"] for sent in (marked, marked, body, marked)]
    claim(state)
    answer = client.post(
        "/v1/jobs/cancel", json={"metadata": {"team": "search"}, "created_before": "2999-01-01T00:00:00Z"}
    )
    assert answer.status_code == 200
    assert answer.json() == {"matched": 3, "cancelled": 2, "cancelling": 1, "has_more": False}
    assert [client.get(f"/v1/jobs/{job_id}").json()["status"] for job_id in ids] == [
        "cancelling", "cancelled", "queued", "cancelled",
    ]  # fmt: skip
    assert client.post("/v1/jobs/cancel", json={"ids": ids, "status": ["queued"]}).json()["matched"] == 1


def test_a_call_cancels_a_bounded_number_and_says_that_there_are_more(
    client: TestClient, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.routes.jobs.MAX_CANCELLED", 4)
    monkeypatch.setattr("service.routes.jobs.CANCELLED_AT_ONCE", 2)
    for _ in range(5):
        client.post("/v1/jobs", json=body)
    answers = [client.post("/v1/jobs/cancel", json={"task": "none"}).json() for _ in range(2)]
    assert [(answer["matched"], answer["has_more"]) for answer in answers] == [(4, True), (1, False)]


MEANINGLESS: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"model": None}, ""),
    ({"ids": []}, "/ids"),
    ({"metadata": {}}, "/metadata"),
    ({"ids": ["x"]}, "/ids/0"),
    ({"status": ["failed"]}, "/status/0"),
    ({"created_before": "2026-11-29"}, "/created_before"),
    ({"created_before": 5}, "/created_before"),
    ({"created_before": "2026-11-29T00:00:00"}, "/created_before"),
    ({"tasks": "sst2"}, "/tasks"),
    ({"status": None}, ""),
    ({"metadata": None, "task": "none"}, ""),
    ({"ids": None}, ""),
]


def test_a_filter_that_means_nothing_cancels_nothing(client: TestClient, body: dict[str, Any]) -> None:
    job = client.post("/v1/jobs", json=body).json()
    for sent, pointer in MEANINGLESS:
        answer = client.post("/v1/jobs/cancel", json=sent)
        problem = answer.json()
        assert (answer.status_code, problem["errors"][0]["pointer"]) == (422, pointer), sent
        # Of the wrong field alone, in words that are no library's.
        assert len(problem["errors"]) == 1, sent
        assert not any(word in problem["detail"] for word in ("None", "Value error")), sent
    assert client.get(job["urls"]["self"]).json()["status"] == "queued"


def test_the_list_takes_several_statuses_and_times(
    client: TestClient, state: GatewayState, body: dict[str, Any]
) -> None:
    ids = [client.post("/v1/jobs", json=body).json()["id"] for _ in range(3)]
    fail(state)
    claim(state)

    def found(query: str) -> list[str]:
        return [job["id"] for job in client.get(f"/v1/jobs?{query}").json()["data"]]

    assert found("status=failed&status=running") == ids[1::-1]
    assert found("created_after=2020-01-01T00:00:00Z&created_before=2999-01-01T00:00:00%2B02:00") == ids[::-1]
    assert found("created_before=2020-01-01T00:00:00Z") == []
    answer = client.get("/v1/jobs?created_after=yesterday")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "created_after")


@pytest.mark.parametrize("late", [False, True], ids=["before they are listed", "then"])
def test_a_retry_while_its_files_are_swept_keeps_its_checkpoints(
    client: TestClient, state: GatewayState, body: dict[str, Any], late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = client.post("/v1/jobs", json=body).json()["id"]
    fail(state)
    past(state, finished_at=30 * 86_400, sweep_at=1)
    settings = state.settings
    (due,) = state.retention.unswept(0, settings.checkpoint_days)
    checkpoint = settings.data_dir / "artifacts" / "jobs" / job_id / "checkpoint" / "baseline-42" / "state"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"that the new attempt goes on from")
    paths = Sweeper.paths

    def retried(self: Sweeper, start: str) -> list[str]:
        found = paths(self, start)
        if late is start.endswith("/checkpoint"):
            assert client.post(f"/v1/jobs/{job_id}/retry").status_code == 202
        return found

    monkeypatch.setattr(Sweeper, "paths", retried)
    sweep_job(state, due)
    assert checkpoint.exists()
