"""What faults do. Each is a context: what is done before its ``yield`` is undone after it."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil
from sqlalchemy.exc import SQLAlchemyError

from tests.chaos.harness.deployment import Deployment, Production
from tests.chaos.harness.file_acts import store_away
from tests.chaos.harness.rows import reader
from tests.chaos.harness.scene import Act, Broken, Scene, Skipped, skipped_where
from tests.chaos.harness.services import Service, ended, wait_until

#: How long is waited for the next attempt that is published.
PUBLISHING_SECONDS = 5.0


def sent(kind: str, number: signal.Signals) -> Act:
    @contextmanager
    def act(scene: Scene) -> Iterator[None]:
        with skipped_where(psutil.NoSuchProcess):
            scene.one(kind).send_signal(number)
        yield

    return act


def frozen(kind: str) -> Act:
    @contextmanager
    def act(scene: Scene) -> Iterator[None]:
        with _stopped([scene.one(kind)]):
            yield

    return act


@contextmanager
def stopped_for_good(scene: Scene) -> Iterator[None]:
    """Of a runner that works: nobody lets it go on."""
    with skipped_where(psutil.NoSuchProcess):
        scene.one("runner").suspend()
    yield


def service_killed(find: Callable[[Deployment], Service], number: signal.Signals) -> Act:
    @contextmanager
    def act(scene: Scene) -> Iterator[None]:
        service = find(scene.deployment)
        service.hold()
        service.signal(number)
        try:
            yield
        finally:
            service.let_go()

    return act


@contextmanager
def frozen_postgres(scene: Scene) -> Iterator[None]:
    with _stopped(scene.production.postgres.everyone):
        yield


@contextmanager
def frozen_valkey(scene: Scene) -> Iterator[None]:
    with _stopped(scene.production.valkey.everyone):
        yield


def backend_sent(number: signal.Signals) -> Act:
    """SIGKILL has PostgreSQL restart all others too."""

    @contextmanager
    def act(scene: Scene) -> Iterator[None]:
        found = scene.production.postgres.backends
        if not found:
            raise Skipped("no backend is there")
        with skipped_where(psutil.NoSuchProcess):
            scene.rng.choice(found).send_signal(number)
        yield

    return act


@contextmanager
def locked_sqlite(scene: Scene) -> Iterator[None]:
    """Another process has the write lock."""
    path = scene.deployment.database_url.removeprefix("sqlite:///")
    with sqlite3.connect(path, timeout=10, isolation_level=None) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise Skipped(f"the lock cannot be had: {error}") from error
        try:
            yield
        finally:
            with suppress(sqlite3.OperationalError):
                connection.execute("ROLLBACK")
    connection.close()


def valkey_said(*command: str) -> Act:
    @contextmanager
    def act(scene: Scene) -> Iterator[None]:
        text = f"*{len(command)}\r\n" + "".join(f"${len(part.encode())}\r\n{part}\r\n" for part in command)
        with skipped_where(OSError), socket.create_connection(("127.0.0.1", scene.production.valkey.port), 5) as line:
            line.sendall(text.encode())
            if not line.recv(64).startswith((b"+", b":")):
                raise Skipped("Valkey did not take it")
        yield

    return act


def workers_live(act: Act) -> Act:
    """The ``act`` may end no worker: who sees to the services starts one again, and nobody else would notice."""

    @contextmanager
    def watched(scene: Scene) -> Iterator[None]:
        before, began = scene.deployment.workers, time.monotonic()
        with act(scene):
            yield
        gone = [process.pid for process in before if ended(process)]
        if gone and not scene.windows.touched(frozenset({"worker", "restart"}), began, time.monotonic()):
            raise Broken("worker ended", f"the workers {gone} of {[process.pid for process in before]}")

    return watched


#: Messages that no gateway of ours has sent: no JSON, no envelope, an unknown task, another content type.
MALFORMED = (
    "", "{", "\x00\xff", "[]", '{"body": 1}', "null",
    json.dumps({"body": "e30=", "headers": {}, "content-type": "application/json", "properties": {}}),
    json.dumps({"body": "gAR9lC4=", "content-type": "application/x-python-serialize", "content-encoding": "binary",
                "headers": {"task": "os.system", "id": "1"},
                "properties": {"body_encoding": "base64", "delivery_info": {}, "delivery_tag": "1"}}),
    json.dumps({"body": "W1tdLHt9LHt9XQ==", "content-type": "application/json", "content-encoding": "utf-8",
                "headers": {"task": "nobody.knows", "id": "2"},
                "properties": {"body_encoding": "base64", "delivery_info": {}, "delivery_tag": "2"}}),
)  # fmt: skip


@contextmanager
def malformed_files(scene: Scene) -> Iterator[None]:
    messages = scene.embedded.broker / "messages"
    with skipped_where(OSError):  # its folder may be gone, or its disk full
        for text in MALFORMED:
            (messages / f"{time.monotonic_ns():020}_{uuid.uuid4()}.layercut.msg").write_bytes(text.encode("latin-1"))
        (messages / f"{time.monotonic_ns():020}_{uuid.uuid4()}.layercut.msg").mkdir()
    yield


@contextmanager
def store_away_at_publishing(scene: Scene) -> Iterator[None]:
    """From the moment that an attempt's files begin to arrive."""
    _published_next(scene)
    with store_away(scene):
        yield


@contextmanager
def worker_killed_at_publishing(scene: Scene) -> Iterator[None]:
    """The worker whose attempt's files begin to arrive."""
    with skipped_where(psutil.NoSuchProcess, SQLAlchemyError), reader(scene.deployment.database_url) as rows:
        [row] = rows("SELECT worker FROM jobs WHERE id = :id", id=_published_next(scene)) or [None]
        pid = int(str(row and row.worker).rpartition("-")[2]) if row and row.worker else 0
        victims = [process for process in scene.deployment.workers if process.pid == pid]
        if not victims:
            raise Skipped("that worker has ended, or has no job any more")
        victims[0].kill()
    yield


def _published_next(scene: Scene) -> str:
    """The job of which an attempt's files begin to arrive now."""

    def attempts() -> set[tuple[str, str]]:
        return {path.parts[-3::2] for path in scene.deployment.store.glob("jobs/*/attempts/*")}

    before, found = attempts(), set[tuple[str, str]]()
    if not wait_until(lambda: bool(found.update(attempts() - before) or found), PUBLISHING_SECONDS, every=0.005):
        raise Skipped("no attempt was published")
    return found.pop()[0]


@contextmanager
def rolling_restart(scene: Scene) -> Iterator[None]:
    """Other faults go on meanwhile: it waits for nobody for long."""
    restart_all(scene.deployment, 10.0)
    yield


def restart_all(deployment: Deployment, seconds: float) -> None:
    """SIGTERM to one after the other; each is started again, and answers, before the next."""
    for service in deployment.programs:
        starts = service.starts
        service.signal(signal.SIGTERM)
        wait_until(lambda: service.starts > starts, seconds)  # noqa: B023 - asked before the next turn
        wait_until(deployment.ready, seconds)


def killed_in_request(method: str, ending: str) -> Act:
    """A gateway dies while it answers: the client, who knows nothing, asks again."""

    @contextmanager
    def act(scene: Scene) -> Iterator[None]:
        victim, traffic = scene.one("gateway"), scene.load.traffic
        jobs = [job for job in scene.load.sent if job.id and not job.deleted]
        if not jobs:
            raise Skipped("there is no job yet")
        job = scene.rng.choice(jobs)
        job.may_be_deleted |= method == "DELETE"
        job.may_be_retried |= method == "POST"
        path = f"/v1/jobs/{job.id}{ending}"
        asking = [threading.Thread(target=traffic.ask, args=(method, path), kwargs={"gateway": n}) for n in (0, 1)]
        for thread in asking:
            thread.start()
        time.sleep(scene.rng.uniform(0.0, 0.03))
        with suppress(psutil.NoSuchProcess):
            victim.kill()
        for thread in asking:
            thread.join()
        yield

    return act


def receiver_says(status: int) -> Act:
    @contextmanager
    def act(scene: Scene) -> Iterator[None]:
        scene.receiver.status = status
        try:
            yield
        finally:
            scene.receiver.status = 204

    return act


def serve_of(deployment: Deployment) -> Service:
    return deployment.programs[0]


def postgres_of(deployment: Deployment) -> Service:
    assert isinstance(deployment, Production)
    return deployment.postgres


def valkey_of(deployment: Deployment) -> Service:
    assert isinstance(deployment, Production)
    return deployment.valkey


@contextmanager
def _stopped(found: list[psutil.Process]) -> Iterator[None]:
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        yield
    finally:
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.resume()
