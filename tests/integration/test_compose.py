"""docker-compose.yml without Docker: our services' own commands, environments and healthchecks as local processes.

Only what containers would give is put in their place: the two images by the binaries of the dev extra, host names by
their addresses, mounts by folders. Nothing of this process's environment reaches the services.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml
from psycopg import sql
from safetensors import safe_open
from sqlalchemy import make_url

from tests.support.gateway_process import free_port
from tests.support.tiny_models import tiny_model

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
READY_SECONDS = 60


@dataclass(frozen=True)
class Host:
    """One machine that stands in for the containers: where their paths, ports and servers are here."""

    folder: Path
    port: int
    worker_port: int
    urls: dict[str, str]

    def here(self, text: str) -> str:
        """``text`` of the compose file, with paths, port and address of this machine."""
        text = re.sub(r"(?<![\w.])/(var/lib/layercut|models|data)\b", rf"{self.folder}/\1", text)
        ports = text.replace("8000", str(self.port)).replace("8001", str(self.worker_port))
        return ports.replace("0.0.0.0", "127.0.0.1")

    def environment(self, service: dict[str, Any]) -> dict[str, str]:
        given = {name: self.here(str(value)) for name, value in service["environment"].items() if value is not None}
        given.update({name: url for name, url in self.urls.items() if name in given})
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"
        return {**given, "PATH": path, "HOME": str(self.folder), "OMP_NUM_THREADS": "1"}

    def start(self, name: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                SERVICES[name]["command"],
                cwd=self.folder,
                env=self.environment(SERVICES[name]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def healthy(self, name: str) -> bool:
        """Whether the service's own healthcheck says so."""
        service = SERVICES[name]
        test = [self.here(word) for word in service["healthcheck"]["test"][1:]]
        environment = self.environment(service)
        return subprocess.run(test, env=environment, cwd=self.folder, capture_output=True, check=False).returncode == 0


def wait_for(condition: Callable[[], bool], what: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} after {READY_SECONDS} s; its log:\n{log.read_text()}"
        time.sleep(0.2)


def written(folder: Path) -> list[Path]:
    """What our services, started in ``folder``, have written there."""
    ours = [path for path in folder.iterdir() if path.name not in ("models", "data", "out") and path.suffix != ".log"]
    return [path for top in ours for path in (top, *top.rglob("*")) if path.is_file()]


@pytest.fixture
def own_database(postgres_url: str) -> str:
    """An empty database: the worker would claim what other tests left in the queue of theirs."""
    name = f"compose_{secrets.token_hex(4)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return make_url(postgres_url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def host(tmp_path: Path, own_database: str, valkey_url: str) -> Host:
    for folder in ("var/lib/layercut/artifacts", "models", "data"):
        (tmp_path / folder).mkdir(parents=True)
    tiny_model("bert", tmp_path / "models" / "tiny")
    return Host(
        folder=tmp_path,
        port=free_port(),
        worker_port=free_port(),
        urls={"LAYERCUT_DATABASE_URL": own_database, "LAYERCUT_BROKER_URL": valkey_url},
    )


@pytest.fixture
def running(host: Host) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Both of our services, healthy, started in the order that compose would start them in."""
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in ("gateway", "worker"):
            processes[name] = host.start(name)
            wait_for(lambda name=name: host.healthy(name), f"{name} not healthy", host.folder / f"{name}.log")
        yield processes
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_job_runs_through_the_services_of_the_compose_file(
    host: Host, running: dict[str, subprocess.Popen[bytes]]
) -> None:
    model = host.folder / "models" / "tiny"
    body = {
        "model": str(model),
        "task": "none",
        "prune": {"strategy": "bottom", "drop": 2},
        "evaluation": {"latency": {"batch_sizes": [], "sequence_lengths": []}},
    }
    with httpx.Client(base_url=f"http://127.0.0.1:{host.port}", timeout=60, trust_env=False) as client:
        posted = client.post("/v1/jobs", json=body)
        assert posted.status_code == 202, posted.text
        url = posted.headers["Location"]
        # The stream ends with the job.
        client.get(f"{url}/events", headers={"Accept": "text/event-stream"}, timeout=120)
        job = client.get(url).json()
        assert job["status"] == "succeeded", job["error"]
        download = client.get(f"{url}/download")
    assert download.headers["ETag"].strip('"').removeprefix("sha256-") == hashlib.sha256(download.content).hexdigest()

    out = host.folder / "out"
    out.mkdir()
    subprocess.run(["tar", "-x", "-C", out], input=download.content, check=True)
    [folder] = out.iterdir()
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split(maxsplit=1)
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    with safe_open(folder / "model.safetensors", "np") as made, safe_open(model / "model.safetensors", "np") as source:
        query = "bert.encoder.layer.{}.attention.self.query.weight"
        assert (made.get_tensor(query.format(0)) == source.get_tensor(query.format(2))).all()
        assert query.format(4) not in made.keys()  # noqa: SIM118 (safe_open is no mapping)

    outside = [path for path in written(host.folder) if not path.is_relative_to(host.folder / "var/lib/layercut")]
    assert outside == [], "an image can be read only"

    for name in ("worker", "gateway"):
        running[name].send_signal(signal.SIGTERM)
        running[name].wait(int(SERVICES[name]["stop_grace_period"].removesuffix("s")))
