"""kill -9 of each process, and the broker's folder gone, in the middle of a real job: it still ends once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from store.artifacts import ArtifactStore
from tests.support.processes import eventually
from tests.support.serve_process import Served, served
from tests.support.tiny_models import tiny_model

pytestmark = pytest.mark.chaos


def kill(process: psutil.Process | None) -> None:
    assert process is not None
    process.kill()


VICTIMS: dict[str, Callable[[Served], None]] = {
    "runner": lambda server: kill(server.runner),
    "worker": lambda server: kill(server.child("worker")),
    "gateway": lambda server: kill(server.child("gateway")),
    "broker folder": lambda server: shutil.rmtree(server.data / "broker", ignore_errors=True),
}
ATTEMPTS = {"runner": 2, "worker": 2, "gateway": 1, "broker folder": 1}


def submit(server: Served, folder: Path) -> dict[str, Any]:
    """A job that trains for some seconds, as it is accepted."""
    rows = [f"{'a joy full of wit' if row % 2 else 'a dull and lifeless story'} {row},{row % 2}" for row in range(80)]
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    body = {
        "model": str(tiny_model("bert", folder / "bert")),
        "task": {"dataset": str(folder / "reviews.csv"), "text_columns": ["text"], "label_column": "label"},
        "recovery": {"epochs": 150},
        "evaluation": {"latency": {"batch_sizes": []}},
    }
    answer = server.client.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def job(server: Served, job_id: str) -> dict[str, Any]:
    eventually(server.healthy)
    return dict(server.client.get(f"/v1/jobs/{job_id}").json())


def events(server: Served, job_id: str) -> list[dict[str, Any]]:
    eventually(server.healthy)
    return list(server.client.get(f"/v1/jobs/{job_id}/events", params={"limit": 1000}).json()["data"])


@pytest.mark.parametrize(
    "victim", [pytest.param(name, marks=() if name == "worker" else pytest.mark.long) for name in VICTIMS]
)
def test_a_job_ends_once_whatever_dies(victim: str, tmp_path: Path) -> None:
    roots = {"model_roots": tmp_path, "data_roots": tmp_path}
    often = {
        "lease_seconds": 4,
        "retry_seconds": 0.5,
        "reap_seconds": 1,
        "wake_again_seconds": 1,
        "checkpoint_seconds": 0.5,
    }
    with served(tmp_path, **roots, **often) as server:
        accepted = submit(server, tmp_path)
        job_id = accepted["id"]
        eventually(lambda: any(event["data"].get("checkpoint") for event in events(server, job_id)), seconds=60)
        VICTIMS[victim](server)
        eventually(lambda: job(server, job_id)["status"] in ("succeeded", "failed", "cancelled"), seconds=120)

        ended = job(server, job_id)
        assert (ended["status"], ended["attempt"]) == ("succeeded", ATTEMPTS[victim]), ended["error"]
        assert len(list((server.data / "artifacts").glob("jobs/*/attempts/*/manifest.json"))) == 1
        artifacts = ArtifactStore(f"file://{server.data}/artifacts")
        # Its checkpoints go after the end was told.
        eventually(lambda: len(artifacts.prefixes("jobs")) == 1)
        assert ended["resolved"]["plan"] == accepted["resolved"]["plan"], "as it was shown"
        told = events(server, job_id)
        assert [event["type"] for event in told].count("job.succeeded") == 1
        assert [event["number"] for event in told] == list(range(1, len(told) + 1))
        resumed = any(event["message"].startswith("resumed at step") for event in told)
        assert resumed is (ATTEMPTS[victim] == 2), "what was trained is not trained again"
        assert server.stop() == 0
