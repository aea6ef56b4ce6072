"""The two deployments that docs/operations.md describes, as processes of this machine, each in a folder of its own."""

from __future__ import annotations

import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from tests.chaos.harness.services import (
    Postgres,
    Service,
    Tmpfs,
    Valkey,
    descendants,
    kill_all,
    matching,
    matching_part,
    short_folder,
    wait_until,
)
from tests.support.gateway_process import free_port
from tests.support.serve_process import environment
from tests.support.tiny_models import tiny_model
from workers.sandbox.kernel import adopt_orphans

PROGRAM = [sys.executable, "-P", "-m", "tests.chaos.harness.launch"]
LEASE_SECONDS = 6.0
SWEEP_AFTER_SECONDS = 20.0
#: Of the small disks that are filled.
DISK_MEBIBYTES = 600
MIN_FREE_BYTES = 16 * 2**20

#: All that waits, waits shortly. What a user would set on one machine is left at its default.
SETTINGS: dict[str, object] = {
    "lease_seconds": LEASE_SECONDS,
    "reap_seconds": 1,
    "wake_again_seconds": 2,
    "sweep_after_seconds": SWEEP_AFTER_SECONDS,
    "checkpoint_seconds": 0.5,
    "kill_grace_seconds": 4,
    "poll_seconds": 1,
    "retry_seconds": 0.5,
    "no_progress_seconds": 30,
    "min_free_bytes": MIN_FREE_BYTES,
    "webhook_hosts": "127.0.0.1",
    "webhook_plain_http": "true",
    "webhook_seconds": 5,
    "secret_key": "x" * 40,
    "tenant_requests_per_minute": 0,
}
ROWS = 80


class Deployment(ABC):
    """``settings`` override SETTINGS. Use ``deployed``, which leaves no process behind."""

    name: str

    def __init__(self, folder: Path, **settings: object) -> None:
        adopt_orphans()
        #: Of whoever uses this: no process of theirs is touched.
        self.others = {process.pid for process in descendants()}
        self.folder = folder
        self.inputs = folder / "inputs"
        self.logs = folder / "logs"
        self.logs.mkdir()
        self._write_inputs()
        roots = {"model_roots": self.inputs, "data_roots": self.inputs}
        self.settings: dict[str, object] = {**SETTINGS, **roots, **settings}
        self.disks: list[Tmpfs] = []
        self.servers: list[Service] = []
        self.programs: list[Service] = []
        self.urls: list[str] = []

    @property
    @abstractmethod
    def database_url(self) -> str: ...

    @property
    @abstractmethod
    def store(self) -> Path:
        """The folder of the artifact store."""

    @property
    @abstractmethod
    def data_dirs(self) -> list[Path]:
        """Of the workers."""

    @property
    @abstractmethod
    def gateways(self) -> list[psutil.Process]: ...

    @property
    @abstractmethod
    def workers(self) -> list[psutil.Process]: ...

    @abstractmethod
    def start_servers(self) -> None:
        """What the programs need: it answers when this returns."""

    @property
    def runners(self) -> list[psutil.Process]:
        """Those that wait and those that work."""
        found: list[psutil.Process] = []
        for worker in self.workers:
            with suppress(psutil.NoSuchProcess):
                found += worker.children()
        return found

    @property
    def verifiers(self) -> list[psutil.Process]:
        return matching_part(descendants(), "export/verification")

    @property
    def scratch_roots(self) -> list[Path]:
        return [folder / "scratch" for folder in self.data_dirs]

    @property
    def services(self) -> list[Service]:
        return [*self.programs, *self.servers]

    def start(self) -> None:
        """Returns when all gateways and workers are there."""
        self.start_servers()
        for service in self.programs:
            service.start()
        assert wait_until(self.ready, 90), f"it does not start: see {self.logs}"

    def ready(self) -> bool:
        return all(self._is_ready(url) for url in self.urls) and len(self.runners) >= len(self.data_dirs)

    def stop(self) -> None:
        """As an operator would: SIGTERM, programs first."""
        for service in self.programs:
            service.signal_stop()
        for service in (*self.programs, *reversed(self.servers)):
            service.stop()

    def close(self) -> None:
        """Whatever state it is in: no process and no mount is left."""
        kill_all(self.services, self.others)
        for disk in self.disks:
            disk.close()

    def client(self, number: int = 0, seconds: float = 10.0) -> httpx.Client:
        """Of one of the gateways. A proxy of the user's has no business between two processes of one machine."""
        return httpx.Client(base_url=self.urls[number % len(self.urls)], trust_env=False, timeout=seconds)

    def program(self, name: str, *arguments: object, **settings: object) -> Service:
        env = environment(**{**self.settings, **settings})
        return Service(name, [*PROGRAM, *arguments], self.logs / f"{name}.log", env)

    def disk(self, name: str, mebibytes: int = DISK_MEBIBYTES) -> Tmpfs:
        made = Tmpfs(self.folder / name, mebibytes)
        self.disks.append(made)
        return made

    def _write_inputs(self) -> None:
        self.inputs.mkdir()
        tiny_model("bert", self.inputs / "bert")
        rows = [
            f"{'a joy full of wit' if row % 2 else 'a dull and lifeless story'} {row},{row % 2}" for row in range(ROWS)
        ]
        (self.inputs / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")

    def _is_ready(self, url: str) -> bool:
        try:
            return httpx.get(f"{url}/readyz", trust_env=False, timeout=5).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


class Embedded(Deployment):
    """`layercut serve`: SQLite, and folders for broker and store, all on one small disk."""

    name = "embedded"

    def __init__(self, folder: Path, **settings: object) -> None:
        super().__init__(folder, **settings)
        self.data = self.disk("disk").folder / "data"
        port = free_port()
        self.urls = [f"http://127.0.0.1:{port}"]
        self.serve = self.program("serve", "serve", "--port", port, "--data-dir", self.data)
        self.programs = [self.serve]

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.data}/layercut.db"

    @property
    def store(self) -> Path:
        return self.data / "artifacts"

    @property
    def broker(self) -> Path:
        return self.data / "broker"

    @property
    def data_dirs(self) -> list[Path]:
        return [self.data]

    @property
    def gateways(self) -> list[psutil.Process]:
        return self._children("gateway")

    @property
    def workers(self) -> list[psutil.Process]:
        return self._children("worker")

    def start_servers(self) -> None:
        """It needs none."""

    def _children(self, name: str) -> list[psutil.Process]:
        return [process for process in matching(self.serve.everyone[1:], name) if "--wait" not in process.cmdline()]


class Production(Deployment):
    """Gateways and workers that share PostgreSQL, Valkey and a store; each worker has a data folder of its own."""

    name = "production"

    def __init__(
        self, folder: Path, gateways: int = 2, workers: int = 3, skewed: float = 0.0, **settings: object
    ) -> None:
        """``skewed`` is by how many seconds the clock of the last gateway is wrong."""
        super().__init__(folder, **settings)
        self.postgres = Postgres(folder / "pg")
        self.valkey = Valkey(folder / "valkey")
        self.servers = [self.postgres, self.valkey]
        self._store = self.disk("store").folder / "share" / "artifacts"
        self._hosts = self.disk("hosts").folder
        self.settings |= {
            "database_url": self.postgres.url,
            "broker_url": self.valkey.url,
            "artifacts_url": f"file://{self._store}",
        }
        ports = [free_port() for _ in range(gateways)]
        self.urls = [f"http://127.0.0.1:{port}" for port in ports]
        self.gateway_services = [
            self.program(f"gateway-{number}", "gateway", "--port", port, data_dir=folder / f"gateway-{number}")
            for number, port in enumerate(ports)
        ]
        self.worker_services = [
            self.program(f"worker-{number}", "worker", data_dir=data)
            for number, data in enumerate(self._hosts / f"worker-{number}" for number in range(workers))
        ]
        self.gateway_services[-1].env["CHAOS_CLOCK_SECONDS"] = str(skewed)
        self._workers = workers
        self.programs = [*self.gateway_services, *self.worker_services]

    @property
    def database_url(self) -> str:
        return self.postgres.url

    @property
    def store(self) -> Path:
        return self._store

    @property
    def data_dirs(self) -> list[Path]:
        return [self._hosts / f"worker-{number}" for number in range(self._workers)]

    @property
    def gateways(self) -> list[psutil.Process]:
        return [process for service in self.gateway_services for process in service.everyone[:1]]

    @property
    def workers(self) -> list[psutil.Process]:
        return [process for service in self.worker_services for process in service.everyone[:1]]

    def start_servers(self) -> None:
        for server in self.servers:
            server.start()
        assert wait_until(lambda: self.postgres.answers, 60), f"PostgreSQL does not start: see {self.postgres.log}"


DEPLOYMENTS: dict[str, type[Deployment]] = {"embedded": Embedded, "production": Production}


@contextmanager
def deployed(name: str, *, keep: Path | None = None, started: bool = True, **settings: object) -> Iterator[Deployment]:
    """One that has started; afterwards nothing of it is left, but its logs where ``keep`` names a folder for them."""
    folder = short_folder()
    deployment = DEPLOYMENTS[name](folder, **settings)
    try:
        if started:
            deployment.start()
        yield deployment
    finally:
        deployment.close()
        if keep is not None:
            shutil.copytree(deployment.logs, keep, dirs_exist_ok=True)
            for server in deployment.servers:
                with suppress(OSError):
                    shutil.copy(server.log, keep)
        shutil.rmtree(folder, ignore_errors=True)
