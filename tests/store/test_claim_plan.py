"""What PostgreSQL does for a claim: it reads the queue's index, never the table of all jobs there ever were."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, insert, make_url, select, text

from store.database import migrate, open_engine
from store.ids import new_job_id
from store.jobs import JobStore
from store.tables import jobs
from tests.support.events import queue

ENDED = 3000


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    """Thousands of jobs that have ended, and ten that wait."""
    name = "claim_plan"
    admin = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {name}"))
        engine = open_engine(make_url(postgres_url).set(database=name).render_as_string(hide_password=False))
        migrate(engine)
        first = queue(JobStore(engine), {"model": "a/b", "task": "none"})
        with engine.begin() as writer:
            row = dict(writer.execute(select(jobs).where(jobs.c.id == first.id)).one()._mapping)
            begin = datetime(2026, 1, 1, tzinfo=UTC)
            more = [{**row, "id": new_job_id(begin + timedelta(minutes=place))} for place in range(ENDED + 10)]
            writer.execute(insert(jobs), [{**one, "status": "succeeded"} for one in more[:ENDED]] + more[ENDED:])
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as vacuum:
            vacuum.execute(text("VACUUM ANALYZE"))
        yield engine
        engine.dispose()
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.mark.parametrize(("only_default", "formats"), [(False, None), (True, None), (False, ["safetensors"])], ids=str)
def test_no_claim_reads_all_jobs(engine: Engine, only_default: bool, formats: list[str] | None) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []
    event.listen(engine, "before_cursor_execute", lambda *told: asked.append((told[2], told[3])))
    assert JobStore(engine).claim("w", only_default=only_default, formats=formats)
    [(claim, given)] = [told for told in asked if "UPDATE jobs SET status" in told[0]]
    with engine.connect() as connection:
        plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {claim}", given))
    assert "using ix_jobs_queue" in plan
    assert "Seq Scan on jobs" not in plan, plan
