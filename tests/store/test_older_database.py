"""A database of an older layercut is brought up to date with its rows; one of a newer layercut is left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

import store
from api_schemas.events import EventType
from api_schemas.jobs import Status
from api_schemas.tenants import Quotas
from store.audit import Actor
from store.cache import CacheStore
from store.database import NewerDatabase, migrate, open_engine
from store.jobs import JobStore
from store.studies import StudyStore
from store.tenants import TenantStore
from tests.support.events import queue
from tests.support.store_samples import RESULT
from tests.support.study_samples import ACTOR, cells, feed, new_study

REQUEST = {"model": "acme/bert", "task": "sst2", "metadata": {"team": "search"}}
RESOLVED = {"prune": {"strategy": "top"}, "plan": {"kept": [0, 1], "dropped": [2], "protected": [], "scores": None}}
#: As 0.1.0 wrote them.
EVENTS: list[tuple[str, dict[str, Any]]] = [
    ("job.queued", {}),
    ("job.started", {"attempt": 1, "worker": "w"}),
    ("job.stage", {"stage": "resolving", "skipped": False}),
    ("job.resolved", RESOLVED),
    ("job.progress", {"fraction": 0.5, "step": 3, "total_steps": 6, "eta_seconds": 2.0}),
    ("job.metric", {"name": "accuracy", "value": 91.0, "side": "after"}),
    ("job.log", {"checkpoint": "baseline-42-000000003", "training": "baseline-42"}),
    ("job.succeeded", {"result": RESULT, "usage": {"wall_seconds": 3.0}}),
]
ENDED, WAITING = "job_00000000000000000000000a", "job_00000000000000000000000b"


def bring_to(engine: Engine, revision: str, *, back: bool = False) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(store.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if back else command.upgrade)(config, revision)


def insert(engine: Engine, table: str, **values: Any) -> None:
    columns = ", ".join(values)
    names = ", ".join(f":{name}" for name in values)
    written = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in values.items()}
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({names})"), written)


@pytest.fixture
def older(empty_database_url: str) -> Engine:
    """With a job that has ended, one that waits, and a thing that was made for both; as 0.1.0 left it."""
    engine = open_engine(empty_database_url)
    bring_to(engine, "0002")
    now, later = "2026-11-01 10:00:00.000000", "2036-11-01 10:00:00.000000"
    same = {
        "priority": 0, "model": "acme/bert", "task": "sst2", "created_at": now, "request": REQUEST, "progress": {},
        "resolved": RESOLVED, "max_attempts": 3, "max_queue_seconds": 600, "queue_expires_at": later,
    }  # fmt: skip
    insert(
        engine, "jobs", id=ENDED, status="succeeded", attempt=1, last_event=len(EVENTS), result=RESULT,
        artifact="jobs/x", started_at=now, finished_at=now, **same,
    )  # fmt: skip
    insert(engine, "jobs", id=WAITING, status="queued", attempt=0, last_event=1, **same)
    for number, (kind, data) in enumerate(EVENTS, start=1):
        insert(
            engine, "events", job_id=ENDED, number=number, type=kind, level="info", message=f"line {number}", data=data,
            attempt=1, created_at=now,
        )  # fmt: skip
    insert(
        engine, "shelf", fingerprint="f" * 64, kind="baseline", state="made", job_id=ENDED, lease_token="t0",
        seconds=2.5, bytes=10, created_at=now, used_at=now,
    )  # fmt: skip
    migrate(engine)
    return engine


def test_its_jobs_and_their_events_are_there(older: Engine) -> None:
    jobs = JobStore(older)
    found = {job.id: job for job in jobs.list()[0]}
    assert {id: (job.status, job.request, job.metadata) for id, job in found.items()} == {
        ENDED: (Status.SUCCEEDED, REQUEST, {"team": "search"}),
        WAITING: (Status.QUEUED, REQUEST, {"team": "search"}),
    }
    result = found[ENDED].result
    assert result is not None
    assert result.model_dump(exclude_unset=True) == RESULT
    assert jobs.artifact(ENDED) == "jobs/x"
    events = jobs.events(ENDED)[0]
    assert [event.message for event in events] == [f"line {number}" for number in range(1, len(EVENTS) + 1)]
    told = {event.type: event.data for event in events}
    assert told[EventType.METRIC].value == 91.0  # type: ignore[union-attr]
    assert told[EventType.SUCCEEDED].result == result  # type: ignore[union-attr]
    older.dispose()


def test_what_was_there_is_the_default_tenants(older: Engine) -> None:
    jobs, tenants = JobStore(older), TenantStore(older)
    assert {job.id for job in jobs.of(Actor()).list()[0]} == {ENDED, WAITING}
    tenants.create("team-a", "A", Quotas())
    assert jobs.of(Actor("team-a")).list() == ([], False)
    assert [tenant.id for tenant in tenants.list()] == ["default", "team-a"]
    assert tenants.get("default").quotas == Quotas(), "no limits, as before"
    assert CacheStore(older).find("f" * 64, tenant="team-a", pool="team-a") is None
    older.dispose()


def test_what_was_made_is_found_where_its_files_lie(older: Engine) -> None:
    found = CacheStore(older).find("f" * 64)
    assert found is not None
    assert (found.prefix, found.seconds, found.job_id) == (f"shelf/baseline/{'f' * 64}/t0", 2.5, ENDED)
    assert CacheStore(older).evict(0) == [found.prefix], "files of before are swept as ever"
    older.dispose()


def test_a_job_that_waited_is_refused_with_a_sentence(older: Engine) -> None:
    jobs = JobStore(older)
    assert jobs.claim("worker-1") is None
    error = jobs.get(WAITING).error
    assert error is not None
    assert error.code == "validation_failed"
    assert error.message.startswith("the job was queued by another version of layercut, whose rows this one cannot")
    assert "POST it again" in error.message
    older.dispose()


@pytest.mark.parametrize(("formats", "claimed"), [(["safetensors"], False), (["safetensors", "onnx-int8"], True)])
@pytest.mark.parametrize("ended", [False, True])
def test_formats_of_a_job_that_waits_are_told_to_its_claim(
    empty_database_url: str, formats: list[str], claimed: bool, ended: bool
) -> None:
    engine = open_engine(empty_database_url)
    migrate(engine)
    # Spelled as a request may have it.
    job = queue(JobStore(engine), {"model": "a/b", "task": "none", "export": {"formats": ["ONNX_INT8"]}})
    if ended:
        JobStore(engine).cancel(job.id)
    bring_to(engine, "0009", back=True)
    migrate(engine)
    if ended:
        JobStore(engine).retry(job.id)
    claim = JobStore(engine).claim("w", formats=formats)
    assert (claim is not None and claim.lease.job_id == job.id) is claimed
    engine.dispose()


def test_jobs_of_before_there_were_studies_are_of_none(older: Engine) -> None:
    migrate(older)
    assert JobStore(older).get(ENDED).study is None
    studies = StudyStore(older).of(ACTOR)
    study = studies.create(new_study(*cells(2))).id
    assert feed(studies, study).jobs == 2
    older.dispose()


def test_a_newer_database_is_left_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        newest = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(
        NewerDatabase, match="the database is at revision 9999, and the newest that this layercut knows"
    ):
        migrate(engine)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"
        connection.execute(text("UPDATE alembic_version SET version_num = :newest"), {"newest": newest})
