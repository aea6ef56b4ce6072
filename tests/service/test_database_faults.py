"""What else is so while the database is away, locked or full: streams go on, reads do, nothing is half made."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from api_schemas.events import EventType
from service.app import create_app
from service.settings import GatewaySettings
from service.state import GatewayState
from tests.support.events import say
from tests.support.gateway_worker import claim
from tests.support.postgres_server import PostgresServer
from tests.support.processes import eventually
from tests.support.small_disk import small_disk


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    return settings.model_copy(update={"database_seconds": 0.5})


def test_a_stream_lives_through_it(
    fragile_postgres: PostgresServer, settings: GatewaySettings, body: dict[str, Any]
) -> None:
    settings.database_url = fragile_postgres.url
    with TestClient(create_app(settings)) as client:
        state: GatewayState = client.app.state.gateway  # type: ignore[attr-defined]
        job = client.post("/v1/jobs", json={**body, "priority": 90}).json()
        lease = claim(state).lease
        seen: list[str] = []

        def watch() -> None:
            answer = client.get(job["urls"]["events"], headers={"Accept": "text/event-stream"})
            seen.extend(line for line in answer.text.splitlines() if line.startswith("event: "))

        watcher = threading.Thread(target=watch)
        watcher.start()
        eventually(lambda: state.feed._channels)
        fragile_postgres.freeze()
        try:
            eventually(lambda: client.get("/readyz").status_code == httpx.codes.SERVICE_UNAVAILABLE)
        finally:
            fragile_postgres.thaw()
        # Not its status: an earlier test's store is the one that this database is known to belong to.
        eventually(lambda: client.get("/readyz").json()["checks"]["database"] == "ok")
        state.store.finish(lease, say(EventType.FAILED, error={"code": "export_failed", "message": "it broke"}))
        watcher.join(20)
    assert seen == ["event: job.queued", "event: job.started", "event: job.failed"]


def test_a_key_cannot_be_checked_without_a_database(
    fragile_postgres: PostgresServer, settings: GatewaySettings
) -> None:
    settings.database_url, settings.auth = fragile_postgres.url, "on"
    with TestClient(create_app(settings)) as client:
        fragile_postgres.freeze()
        try:
            answer = client.get("/v1/jobs", headers={"Authorization": "Bearer lc_00000000_" + "0" * 43})
        finally:
            fragile_postgres.thaw()
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")


@pytest.fixture
def locked(settings: GatewaySettings, client: TestClient) -> Iterator[None]:
    """Another process has SQLite's write lock, and keeps it."""
    path = settings.database_url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def test_a_database_that_is_locked_can_be_read(client: TestClient, body: dict[str, Any], locked: None) -> None:
    refused = client.post("/v1/jobs", json=body)
    assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    assert client.get("/v1/jobs").json()["data"] == []
    assert client.get("/readyz").json()["checks"]["database"] == "unreachable"


def test_what_is_told_of_it_has_no_place_in_it(client: TestClient, body: dict[str, Any], locked: None) -> None:
    said = json.dumps(client.post("/v1/jobs", json=body).json())
    for secret in ("sqlite", "INSERT", "BEGIN", "layercut.db", "site-packages"):
        assert secret not in said


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", megabytes=8) as folder:
        yield folder


def fill(disk: Path, left: int = 0) -> Path:
    """A file that takes all the room but ``left`` bytes."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    if left:
        os.truncate(path, path.stat().st_size - left)
    return path


def test_a_job_that_the_disk_has_no_room_for_is_not_half_there(
    settings: GatewaySettings, body: dict[str, Any], disk: Path
) -> None:
    settings.database_url, settings.min_free_bytes = f"sqlite:///{disk}/layercut.db", 0
    with TestClient(create_app(settings)) as client:
        before = client.post("/v1/jobs", json=body).json()["id"]
        filler = fill(disk)
        refused = client.post("/v1/jobs", json=body)
        assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
        assert int(refused.headers["Retry-After"]) > 0
        assert [job["id"] for job in client.get("/v1/jobs").json()["data"]] == [before]
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "full")
        filler.unlink()
        after = client.post("/v1/jobs", json=body).json()["id"]
        assert [job["id"] for job in client.get("/v1/jobs").json()["data"]] == [after, before]
        assert [event["number"] for event in client.get(f"/v1/jobs/{after}/events").json()["data"]] == [1]


def test_no_job_is_taken_where_little_room_is_left(settings: GatewaySettings, body: dict[str, Any], disk: Path) -> None:
    settings.artifacts_url, settings.min_free_bytes = f"file://{disk}/artifacts", 2**21
    with TestClient(create_app(settings)) as client:
        filler = fill(disk, left=2**20)
        refused = client.post("/v1/jobs", json=body)
        assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
        assert "LAYERCUT_MIN_FREE_BYTES" in refused.json()["detail"]
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["status"], ready.json()["checks"]["disk"]) == (200, "degraded", "full")
        assert client.get("/v1/jobs").json()["data"] == []
        filler.unlink()
        eventually(lambda: client.post("/v1/jobs", json=body).status_code == httpx.codes.ACCEPTED)


def test_a_store_that_is_full_is_not_ready(settings: GatewaySettings, disk: Path) -> None:
    settings.artifacts_url, settings.min_free_bytes = f"file://{disk}/artifacts", 0
    with TestClient(create_app(settings)) as client:
        fill(disk)
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["artifacts"]) == (503, "full")
