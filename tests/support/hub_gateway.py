"""A gateway process with keys and with jobs that delivered real weights; stock clients of the hub as processes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from api_schemas.events import EventType
from api_schemas.tenants import Quotas, Scope
from demo.samples import model_folder
from store.artifacts import ArtifactStore
from store.audit import Actor
from store.database import open_engine
from store.jobs import JobStore
from store.keys import KeyStore
from store.manifests import MANIFEST
from store.tenants import TenantStore
from tests.support.events import queue, say
from tests.support.gateway_process import running_gateway
from tests.support.migrated_database import migrated_sqlite
from tests.support.store_samples import RESULT

#: As one of ours begins.
CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: feature-extraction
base_model: sentence-transformers/all-MiniLM-L6-v2
tags:
- layercut
- pruned
---

# all-MiniLM-L6-v2 with 6 of 6 layers
"""

#: Of a job's files, beyond those that `gateway_worker.succeed` publishes.
MORE = {
    "README.md": b"---\nlicense: mit\nlibrary_name: transformers\ntags:\n- pruned\n- small\nwrong: {a: b}\n---\n# A\n",
    "1_Pooling/config.json": b"{}",
    "1_Pooling/deep/a b.json": b"[]",
}

#: Of this process's environment nothing of the hub's reaches a client; its cache is its own.
FOREIGN = ("HF_", "LAYERCUT_", "PYTHONPATH", "TRANSFORMERS_")


class HubGateway:
    """``key`` reads what the tenant ``here`` has, ``other_key`` what another has."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port, self.url = folder, port, f"http://127.0.0.1:{port}"
        self.engine = open_engine(database_of(folder))
        self.store = JobStore(self.engine)
        self.artifacts = ArtifactStore((folder / "data" / "artifacts").as_uri())
        self.tenants, keys = TenantStore(self.engine), KeyStore(self.engine)
        for tenant in ("here", "there"):
            self.tenants.create(tenant, tenant, Quotas())
        self.key, self.other_key = (
            keys.create(tenant, "reader", Scope.READ, by=Actor(tenant)).key for tenant in ("here", "there")
        )

    def queue(self, **more: Any) -> str:
        """The id of a job of ``here`` that waits."""
        return queue(self.store.of(Actor("here")), {"model": "a/b", "task": "none", **more}).id

    def deliver(self, files: Path, **more: Any) -> str:
        """The id of a job of ``here`` that has delivered the files of a folder."""
        job_id = self.queue(**more)
        claim = self.store.claim("rig")
        assert claim is not None
        assert claim.lease.job_id == job_id
        self.artifacts.publish(claim.lease.prefix, files, f"{job_id}-{more.get('suffix', 'x')}")
        self.store.finish(claim.lease, say(EventType.SUCCEEDED, "done", result=RESULT), claim.lease.prefix, 1)
        return job_id

    def manifest(self, job_id: str) -> Path:
        return self.folder / "data" / "artifacts" / self.store.delivered(job_id) / MANIFEST

    def sha256(self, job_id: str) -> str:
        """Of the list of its files."""
        return hashlib.sha256(self.manifest(job_id).read_bytes()).hexdigest()

    def get(self, path: str, method: str = "GET", key: str | None = None, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key or self.key}", **options.pop("headers", {})}
        return httpx.request(method, self.url + path, headers=headers, trust_env=False, timeout=30, **options)

    def gets(self) -> list[tuple[str, int]]:
        """Paths and statuses of the GETs so far, by its log."""
        lines = map(json.loads, (self.folder / "gateway.log").read_text().splitlines())
        found = [line for line in lines if line.get("event") == "request" and line["method"] == "GET"]
        return [(line["path"], line["status"]) for line in found]

    def sent(self) -> list[str]:
        """The files that were sent so far."""
        return [path for path, status in self.gets() if "/resolve/" in path and status < 300]


class Client:
    """Programs of users, with a home of their own. ``packages`` is a folder that is looked into first."""

    def __init__(self, home: Path, url: str, key: str | None = None, packages: Path | None = None) -> None:
        self.home = home
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)},
            "HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1",
            "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "COLUMNS": "200", "NO_COLOR": "1",
            **({"HF_TOKEN": key} if key else {}), **({"PYTHONPATH": str(packages)} if packages else {}),
        }  # fmt: skip

    def run(
        self, *command: str, fails: bool = False, stdin: str = "", cwd: Path | None = None, **environment: str
    ) -> str:
        """What the command prints; with ``fails``, on stderr too, and it must fail."""
        done = subprocess.run(
            command, env={**self._environment, **environment}, input=stdin, cwd=cwd, capture_output=True, text=True,
            timeout=240, check=False,
        )  # fmt: skip
        assert (done.returncode != 0) is fails, f"{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr if fails else done.stdout

    def python(self, program: str, *arguments: str, **options: Any) -> str:
        return self.run(sys.executable, "-c", program, *arguments, **options).strip()

    def json(self, program: str, *arguments: str, **environment: str) -> Any:
        """The last line that it prints."""
        return json.loads(self.python(program, *arguments, **environment).splitlines()[-1])

    def hf(self, *arguments: str, **options: Any) -> str:
        return self.run(str(Path(sys.executable).with_name("hf")), *arguments, **options)


def refused(answer: httpx.Response) -> tuple[int, str | None]:
    """Status, and the word by which a client of the hub tells what is missing."""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.headers.get("X-Error-Code")


def database_of(folder: Path) -> str:
    return migrated_sqlite(f"sqlite:///{folder / 'data' / 'layercut.db'}")


def write_model(folder: Path) -> Path:
    """A folder as a job delivers it: the packaged MiniLM, under a card as ours are."""
    shutil.copytree(model_folder(), folder, ignore=shutil.ignore_patterns(".gitattributes", "data_config.json"))
    (folder / "README.md").write_text(CARD)
    return folder


@contextmanager
def hub_gateway(folder: Path, **settings: object) -> Iterator[HubGateway]:
    """Keys are needed."""
    database_of(folder)
    with running_gateway(folder, auth="on", **settings) as (port, _):
        gateway = HubGateway(folder, port)
        try:
            yield gateway
        finally:
            gateway.engine.dispose()
