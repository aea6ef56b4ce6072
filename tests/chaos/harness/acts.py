"""What faults do. Each is a context: what is done before its ``yield`` is undone after it."""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.chaos.harness.deployment import Deployment, Embedded, Production
from tests.chaos.harness.load import Load
from tests.chaos.harness.receiver import Receiver
from tests.chaos.harness.services import Service, Tmpfs, wait_until

#: How long a victim is waited for that is there only now and then.
VICTIM_SECONDS = 3.0


class Skipped(Exception):
    """Why it could not be done now."""


@dataclass
class Scene:
    """What a fault may lay hands on. ``rng`` is its own."""

    deployment: Deployment
    load: Load
    receiver: Receiver
    rng: random.Random = field(default_factory=random.Random)

    def one(self, kind: str) -> psutil.Process:
        """A living gateway, worker, runner or verifier."""
        found: list[psutil.Process] = []
        wait_until(lambda: bool(found.extend(getattr(self.deployment, f"{kind}s")) or found), VICTIM_SECONDS)
        if not found:
            raise Skipped(f"no {kind} is there")
        return self.rng.choice(found)


Act = Callable[[Scene], AbstractContextManager[None]]


def sent(kind: str, number: signal.Signals) -> Act:
    @contextmanager
    def act(scene: Scene) -> Iterator[None]:
        with _gone_is_fine(kind):
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
    with _gone_is_fine("runner"):
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
    with _stopped(_production(scene).postgres.everyone):
        yield


@contextmanager
def frozen_valkey(scene: Scene) -> Iterator[None]:
    with _stopped(_production(scene).valkey.everyone):
        yield


def backend_sent(number: signal.Signals) -> Act:
    """SIGKILL has PostgreSQL restart all others too."""

    @contextmanager
    def act(scene: Scene) -> Iterator[None]:
        found = _production(scene).postgres.backends
        if not found:
            raise Skipped("no backend is there")
        with _gone_is_fine("backend"):
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
        with suppress(OSError), socket.create_connection(("127.0.0.1", _production(scene).valkey.port), 5) as line:
            line.sendall(text.encode())
            line.recv(64)
        yield

    return act


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
    messages = _embedded(scene).broker / "messages"
    for text in MALFORMED:
        with suppress(OSError):  # its folder may be gone, or its disk full
            (messages / f"{time.monotonic_ns():020}_{uuid.uuid4()}.layercut.msg").write_bytes(text.encode("latin-1"))
    with suppress(OSError):
        (messages / f"{time.monotonic_ns():020}_{uuid.uuid4()}.layercut.msg").mkdir()
    yield


@contextmanager
def broker_folder_deleted(scene: Scene) -> Iterator[None]:
    shutil.rmtree(_embedded(scene).broker, ignore_errors=True)
    yield


@contextmanager
def scratch_deleted(scene: Scene) -> Iterator[None]:
    """As a cleaner of temporary files does it: of any runner, one that waits most likely."""
    folders = [path for root in scene.deployment.scratch_roots for path in root.glob("runner-*")]
    if not folders:
        raise Skipped("no scratch folder is there")
    shutil.rmtree(scene.rng.choice(folders), ignore_errors=True)
    yield


@contextmanager
def scratch_root_deleted(scene: Scene) -> Iterator[None]:
    shutil.rmtree(scene.rng.choice(scene.deployment.scratch_roots), ignore_errors=True)
    yield


@contextmanager
def store_away(scene: Scene) -> Iterator[None]:
    """A folder cannot be shut to root: a file stands in its place."""
    store = scene.deployment.store
    aside = store.with_name("artifacts-away")
    if not store.is_dir():
        raise Skipped("there is no store yet")
    store.rename(aside)
    try:
        store.write_text("not a folder")
        yield
    finally:
        store.unlink(missing_ok=True)
        if store.is_dir():
            shutil.copytree(store, aside, dirs_exist_ok=True)
            shutil.rmtree(store)
        aside.rename(store)


@contextmanager
def store_away_at_publishing(scene: Scene) -> Iterator[None]:
    """From the moment that an attempt's files begin to arrive."""
    before = {path.name for path in scene.deployment.store.glob("jobs/*/attempts/*")}
    wait_until(
        lambda: any(path.name not in before for path in scene.deployment.store.glob("jobs/*/attempts/*")), 5, every=0.01
    )
    with store_away(scene):
        yield


def killed_at_publishing(kind: str) -> Act:
    @contextmanager
    def act(scene: Scene) -> Iterator[None]:
        before = {path.name for path in scene.deployment.store.glob("jobs/*/attempts/*")}
        wait_until(
            lambda: any(path.name not in before for path in scene.deployment.store.glob("jobs/*/attempts/*")),
            5,
            every=0.005,
        )
        with sent(kind, signal.SIGKILL)(scene):
            yield

    return act


def disk_full(number: int) -> Act:
    @contextmanager
    def act(scene: Scene) -> Iterator[None]:
        disk = scene.deployment.disks[number]
        if disk.reason:
            raise Skipped(disk.reason)
        with filled(disk):
            yield

    return act


@contextmanager
def filled(disk: Tmpfs) -> Iterator[None]:
    filler = disk.folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            for size in (2**20, 2**12):
                with suppress(OSError):
                    while file.write(bytes(size)) == size:
                        continue
        yield
    finally:
        filler.unlink(missing_ok=True)


@contextmanager
def undeletable_file(scene: Scene) -> Iterator[None]:
    """Something is mounted on the file of an attempt that lost: to remove it is refused to root too."""
    place = _planted(scene, "0-undeletable", "held")
    mount = subprocess.run(["mount", "--bind", str(place), str(place)], check=False, capture_output=True, timeout=30)
    if mount.returncode != 0:
        raise Skipped("nothing can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True, timeout=30)


@contextmanager
def half_uploaded(scene: Scene) -> Iterator[None]:
    """As an uploader leaves it that is killed."""
    _planted(scene, "0-half", "model.safetensors#1")
    yield


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
        path = f"/v1/jobs/{job.id}{ending}"
        asking = [threading.Thread(target=traffic.ask, args=(method, path), kwargs={"gateway": n}) for n in (0, 1)]
        for thread in asking:
            thread.start()
        time.sleep(scene.rng.uniform(0.0, 0.03))
        with _gone_is_fine("gateway"):
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


def _production(scene: Scene) -> Production:
    assert isinstance(scene.deployment, Production)
    return scene.deployment


def _embedded(scene: Scene) -> Embedded:
    assert isinstance(scene.deployment, Embedded)
    return scene.deployment


def _planted(scene: Scene, attempt: str, name: str) -> Path:
    """A file of an attempt of a job that runs: it is swept after the job's end."""
    running = scene.load.running
    if not running:
        raise Skipped("no job runs")
    folder = scene.deployment.store / "jobs" / scene.rng.choice(running) / "attempts" / attempt
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(1000))
    except OSError as error:
        raise Skipped(f"nothing can be written there: {error.strerror}") from error
    return folder / name


@contextmanager
def _stopped(found: list[psutil.Process]) -> Iterator[None]:
    for process in found:
        with _gone_is_fine():
            process.suspend()
    try:
        yield
    finally:
        for process in found:
            with _gone_is_fine():
                process.resume()


@contextmanager
def _gone_is_fine(_: str = "") -> Iterator[None]:
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        yield
