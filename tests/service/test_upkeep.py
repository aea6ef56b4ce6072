"""What the gateway mends by itself: lost workers, lost wake-ups, losers' files."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.events import EventType
from service.reaper import clear_cache, reap, wake_again
from service.retention import FILE_STEPS, sweep, sweep_unfinished
from service.settings import GatewaySettings
from service.state import GatewayState
from service.wakeups import WakeUps
from store.artifacts import ArtifactStore
from store.cache import Have, Make
from store.jobs import Lease
from store.sweeping import SWEPT, NotDeletedError
from tests.support.gateway_worker import WEIGHTS, claim, succeed
from tests.support.processes import eventually


def test_a_lost_worker_costs_an_attempt_and_not_the_job(
    settings: GatewaySettings, request: pytest.FixtureRequest, body: dict[str, Any]
) -> None:
    settings.lease_seconds = 0.001
    state = request.getfixturevalue("state")
    client = request.getfixturevalue("client")
    job = client.post("/v1/jobs", json=body).json()
    claim(state)

    def queued_again() -> bool:
        reap(state)
        return bool(client.get(job["urls"]["self"]).json()["status"] == "queued")

    eventually(queued_again)
    assert client.get(job["urls"]["self"]).json()["attempt"] == 1
    assert claim(state).lease.attempt == 2
    kinds = [event["type"] for event in client.get(job["urls"]["events"]).json()["data"]]
    assert kinds == ["job.queued", "job.started", "job.attempt_lost", "job.started"]


def test_what_the_broker_lost_is_sent_again(
    settings: GatewaySettings, request: pytest.FixtureRequest, body: dict[str, Any]
) -> None:
    settings.wake_again_seconds = 0.001
    state = request.getfixturevalue("state")
    for _ in range(3):
        request.getfixturevalue("client").post("/v1/jobs", json=body)
    state.wakeups.stop()
    assert state.wakeups.waiting() == 3
    shutil.rmtree(settings.data_dir / "broker")

    sender = WakeUps(settings.broker_url)
    sender.start()
    wake_again(GatewayState(**{**vars(state), "wakeups": sender}))
    sender.stop()
    assert sender.waiting() == 3


def test_wake_ups_do_not_pile_up_while_all_workers_are_busy(
    settings: GatewaySettings, request: pytest.FixtureRequest, body: dict[str, Any]
) -> None:
    settings.wake_again_seconds = 0.001
    state = request.getfixturevalue("state")
    request.getfixturevalue("client").post("/v1/jobs", json=body)
    eventually(state.wakeups.waiting)
    for _ in range(5):
        wake_again(state)
    state.wakeups.stop()
    assert state.wakeups.waiting() == 1


def test_a_dead_broker_costs_a_wake_up_nothing_and_ends_with_the_gateway() -> None:
    sender = WakeUps("redis://127.0.0.1:1/0")
    sender.start()
    sender.wake(1000)
    sender.stop()
    assert not sender._thread.is_alive()


def test_files_of_an_attempt_that_lost_go_and_the_winners_stay(
    settings: GatewaySettings, request: pytest.FixtureRequest, body: dict[str, Any], tmp_path: Path
) -> None:
    settings.sweep_after_seconds = 0.001
    state = request.getfixturevalue("state")
    client = request.getfixturevalue("client")
    job = client.post("/v1/jobs", json=body).json()
    lost = claim(state)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "model.safetensors").write_bytes(b"half")
    state.artifacts.publish(lost.lease.prefix, tmp_path / "half")
    state.store.release(lost.lease, "the worker was told to stop")
    succeed(state, claim(state), tmp_path / "scratch")
    attempts = settings.data_dir / "artifacts" / "jobs" / job["id"] / "attempts"

    def left_after_a_sweep() -> bool:
        sweep(state)
        return [path.name[0] for path in attempts.iterdir()] == ["2"]

    eventually(left_after_a_sweep)
    stored = {path.name for path in (settings.data_dir / "artifacts").rglob("*") if path.is_file()}
    assert client.get(f"{job['urls']['files']}/model.safetensors").content == WEIGHTS
    assert "manifest.json" in stored
    assert state.retention.unswept(0, 0) == []


def test_the_end_of_a_job_is_told_once(client: TestClient, finished: str) -> None:
    kinds = [event["type"] for event in client.get(f"/v1/jobs/{finished}/events").json()["data"]]
    assert kinds.count(EventType.SUCCEEDED) == 1


def put_into_cache(state: GatewayState, lease: Lease, letter: str, folder: Path, size: int) -> None:
    """Make the baseline whose fingerprint is 64 times that letter."""
    made = state.cache.take(lease, "baseline", letter * 64)
    assert isinstance(made, Make)
    folder.mkdir()
    (folder / "weights").write_bytes(b"x" * size)
    state.artifacts.publish(made.prefix, folder)
    assert state.cache.made(lease, letter * 64, seconds=1, size=size)


def test_what_the_cache_has_no_room_for_goes_with_its_files(
    settings: GatewaySettings, request: pytest.FixtureRequest, body: dict[str, Any], tmp_path: Path
) -> None:
    settings.cache_bytes = 5
    state = request.getfixturevalue("state")
    request.getfixturevalue("client").post("/v1/jobs", json=body)
    lease = claim(state).lease
    for name, size in (("a", 3), ("b", 4)):
        put_into_cache(state, lease, name, tmp_path / name, size)
    clear_cache(state)
    kept = [path.parts[-3] for path in (settings.data_dir / "artifacts" / "cache").glob("*/*/*/weights")]
    assert kept == ["b" * 64]
    assert isinstance(state.cache.take(lease, "baseline", "a" * 64), Make)
    assert isinstance(state.cache.take(lease, "baseline", "b" * 64), Have)


def test_what_the_cache_has_no_room_for_goes_once_the_store_is_back(
    settings: GatewaySettings, request: pytest.FixtureRequest, body: dict[str, Any], tmp_path: Path
) -> None:
    settings.cache_bytes = 0
    state = request.getfixturevalue("state")
    request.getfixturevalue("client").post("/v1/jobs", json=body)
    put_into_cache(state, claim(state).lease, "a", tmp_path / "a", size=3)
    folder = settings.data_dir / "artifacts"
    away = folder.rename(tmp_path / "away")
    for _ in range(2):
        clear_cache(state)
    away.rename(folder)
    assert list(folder.rglob("weights"))
    clear_cache(state)
    assert not list(folder.rglob("weights"))
    assert state.cache.evict(0) == []


def test_a_step_that_fails_keeps_no_other_from_being_done(
    settings: GatewaySettings, request: pytest.FixtureRequest, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.reap_seconds, settings.lease_seconds = 0.02, 0.001

    def broken(_: GatewayState) -> None:
        raise RuntimeError("as if the database had gone in the middle")

    monkeypatch.setattr("service.reaper.STEPS", {"reaper": (broken, reap)})
    client, state = request.getfixturevalue("client"), request.getfixturevalue("state")
    job = client.post("/v1/jobs", json=body).json()
    claim(state)
    eventually(lambda: client.get(job["urls"]["self"]).json()["status"] == "queued")


@pytest.mark.parametrize(("sweep_after_seconds", "often"), [(600.0, False), (0.001, True)])
def test_the_whole_store_is_walked_once_in_the_time_that_it_waits_for(
    settings: GatewaySettings, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch,
    sweep_after_seconds: float, often: bool,
) -> None:  # fmt: skip
    settings.reap_seconds, settings.sweep_after_seconds = 0.01, sweep_after_seconds
    walked: list[str] = []
    rounds = threading.Semaphore(0)
    walk = os.walk

    def counted(top: Path, **how: bool) -> Iterator[tuple[str, list[str], list[str]]]:
        if Path(top).parent == settings.data_dir / "artifacts":
            walked.append(Path(top).name)
        return walk(top, **how)

    def end_of_round(_: GatewayState) -> None:
        rounds.release()

    monkeypatch.setattr("store.folders.os.walk", counted)
    monkeypatch.setattr("service.reaper.STEPS", {"sweeper": (*FILE_STEPS, end_of_round)})
    request.getfixturevalue("client")
    for _ in range(5):
        assert rounds.acquire(timeout=20)
    if often:
        assert len(walked) >= 4 * len(SWEPT)
    else:
        assert walked == [*SWEPT], "once for files and folders"


def test_what_cannot_be_deleted_has_the_store_walked_no_more_often(state: GatewayState) -> None:
    class Stuck(ArtifactStore):
        def sweep_unfinished(self, older_than_seconds: float) -> int:
            raise NotDeletedError(0, {"jobs/x#1": PermissionError()}, 0)

    stuck = GatewayState(**{**vars(state), "artifacts": Stuck(state.settings.artifacts_url)})
    assert sweep_unfinished(stuck) == state.settings.sweep_after_seconds
