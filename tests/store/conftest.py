"""Every test that asks for ``database_url``, ``engine`` or ``store`` runs twice: on SQLite and on PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, delete, make_url, text, update

from api_schemas.jobs import Job
from store.columns import later
from store.database import migrate, open_engine
from store.deliveries import DeliveryStore
from store.jobs import JobStore
from store.retention import RetentionStore
from store.study_tables import studies
from store.tables import (
    DEFAULT_TENANT,
    api_keys,
    audit,
    cache,
    deleted_jobs,
    idempotency,
    jobs,
    probes,
    tenants,
    webhook_secrets,
    webhooks,
    workers,
)
from store.upload_tables import uploads
from store.webhooks import WebhookStore
from tests.support.events import queue
from tests.support.migrated_database import migrated_sqlite
from tests.support.store_samples import Submit


@contextmanager
def _new_postgres_database(server_url: str) -> Iterator[str]:
    """URL of a new database, gone afterwards."""
    admin_url = make_url(server_url).set(drivername="postgresql+psycopg")
    name = f"test_{uuid.uuid4().hex}"
    admin = create_engine(admin_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield admin_url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/layercut.db"
        return
    with _new_postgres_database(request.getfixturevalue("postgres_url")) as url:
        yield url


@pytest.fixture(scope="session")
def migrated_postgres_url(postgres_url: str) -> Iterator[str]:
    with _new_postgres_database(postgres_url) as url:
        engine = open_engine(url)
        migrate(engine)
        engine.dispose()
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with tables, and no rows in them."""
    if request.param == "sqlite":
        return migrated_sqlite(f"sqlite:///{tmp_path}/layercut.db")
    url: str = request.getfixturevalue("migrated_postgres_url")
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(delete(jobs))
        gone = (
            cache,
            api_keys,
            audit,
            probes,
            workers,
            deleted_jobs,
            idempotency,
            webhooks,
            webhook_secrets,
            uploads,
            studies,
        )
        for table in (*gone, studies):
            connection.execute(delete(table))
        connection.execute(delete(tenants).where(tenants.c.id != DEFAULT_TENANT))
    engine.dispose()
    return url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> JobStore:
    return JobStore(engine)


@pytest.fixture
def retention(engine: Engine) -> RetentionStore:
    return RetentionStore(engine)


@pytest.fixture
def stale(engine: Engine) -> JobStore:
    """A store whose leases have expired as soon as they are given."""
    return JobStore(engine, lease_seconds=-1.0)


@pytest.fixture
def submit(store: JobStore) -> Submit:
    """Queue a job; keywords are fields of its request."""

    def create(**fields: Any) -> Job:
        sent = {"model": "acme/bert", "task": "sst2", **fields}
        return queue(store, sent)

    return create


@pytest.fixture
def overdue(engine: Engine) -> Callable[[str, str], None]:
    """Move one of a job's times an hour into the past, as waiting for it would."""

    def move(job_id: str, column: str) -> None:
        with engine.begin() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values({column: later(-3600)}))

    return move


@pytest.fixture
def hooks(engine: Engine) -> WebhookStore:
    return WebhookStore(engine)


@pytest.fixture
def outbox(engine: Engine) -> DeliveryStore:
    return DeliveryStore(engine)
