"""A service as a person meets it in a browser, with something small to work on, and what is done there often."""

from __future__ import annotations

import csv
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import expect

from api_schemas.tenants import Quotas, Scope
from store.audit import Actor
from store.database import open_engine
from store.keys import KeyStore
from store.tenants import TenantStore
from tests.support.browser import Window
from tests.support.processes import eventually
from tests.support.serve_process import Served, served
from tests.support.tiny_models import tiny_model
from tests.support.whole_jobs import KIND, UNKIND

#: Until a job of the tiny model has ended, on cores that others load.
JOB_SECONDS = 90


@dataclass
class Rig:
    """``models`` and ``data`` are roots that jobs may read from."""

    server: Served
    models: Path
    data: Path

    @property
    def address(self) -> str:
        return str(self.server.client.base_url).rstrip("/")

    @property
    def model(self) -> Path:
        return self.models / "tiny"

    @property
    def table(self) -> Path:
        return self.data / "moods.csv"

    def job(self, *, drop: int = 2, **more: Any) -> dict[str, Any]:
        """The body of a quick job of the table."""
        task = {"dataset": str(self.table), "text_columns": ["text"], "label_column": "mood"}
        latency = {"batch_sizes": [1], "sequence_lengths": [16]}
        body = {"model": str(self.model), "task": task, "prune": {"strategy": "top", "drop": drop}}
        return {**body, "recovery": {"method": "none"}, "evaluation": {"latency": latency}, **more}

    def ask(self, key: str | None = None, **more: Any) -> str:
        """A new job's id."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        answer = self.server.client.post("/v1/jobs", json=self.job(**more), headers=headers)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return str(answer.json()["id"])

    def ended(self, job_id: str) -> str:
        """How it did."""

        def status() -> str | None:
            found = self.server.client.get(f"/v1/jobs/{job_id}").json()["status"]
            return found if found in ("succeeded", "failed", "cancelled") else None

        return str(eventually(status, JOB_SECONDS))


@contextmanager
def rig(folder: Path, **settings: object) -> Iterator[Rig]:
    models, data = folder / "models", folder / "data"
    data.mkdir()
    tiny_model("bert", models / "tiny", head="base")
    write_moods(data / "moods.csv")
    with served(folder, model_roots=models, data_roots=data, **settings) as server:
        yield Rig(server, models, data)


def write_moods(path: Path, times: int = 16) -> None:
    """Kind and unkind sentences, no two alike."""
    texts = [(f"{text}, again and again {i}", mood) for i in range(times) for mood, said in _SAID for text in said]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "mood"), *texts])


_SAID = (("kind", KIND), ("unkind", UNKIND))


def new_key(server: Served, tenant: str, scope: Scope = Scope.SUBMIT) -> str:
    """As an operator makes it, of a tenant that is made where it is missing."""
    engine = open_engine(f"sqlite:///{server.data}/layercut.db")
    try:
        tenants = TenantStore(engine)
        if tenant not in {found.id for found in tenants.list()}:
            tenants.create(tenant, tenant, Quotas())
        return KeyStore(engine).create(tenant, f"{tenant} {scope}", scope, by=Actor(tenant)).key
    finally:
        engine.dispose()


def shell(command: str) -> str:
    """What it says, run as a person runs what they copied."""
    done = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fill_in_job(window: Window, rig: Rig, *, model: str | None = None) -> None:
    """The form of a new job, with the table."""
    window.field("Model").fill(model or str(rig.model))
    window.page.get_by_role("radio", name="Own table").check()
    window.field("Table").fill(str(rig.table))
    window.field("Text columns").fill("text")
    window.field("Label column").fill("mood")


def shows(window: Window, text: str, seconds: float = 15) -> None:
    """Somewhere that one can see."""
    expect(window.page.locator("main").get_by_text(text).first).to_be_visible(timeout=seconds * 1000)
