"""kill -9 of each process, and the broker's folder gone, in the middle of a real job: it still ends once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

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


def submit(server: Served, folder: Path) -> str:
    """A job that trains for some seconds."""
    rows = [f"{'a joy, full of wit' if row % 2 else 'a dull and lifeless story'} {row},{row % 2}" for row in range(80)]
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    body = {
        "model": str(tiny_model("bert", folder / "bert")),
        "task": {"dataset": str(folder / "reviews.csv"), "text_columns": ["text"], "label_column": "label"},
        "recovery": {"epochs": 150},
        "evaluation": {"latency": {"batch_sizes": []}},
    }
    answer = server.client.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def job(server: Served, job_id: str) -> dict[str, Any]:
    eventually(server.healthy)
    return dict(server.client.get(f"/v1/jobs/{job_id}").json())


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_job_ends_once_whatever_dies(victim: str, tmp_path: Path) -> None:
    roots = {"model_roots": tmp_path, "data_roots": tmp_path}
    with served(tmp_path, **roots, lease_seconds=4, reap_seconds=1, wake_again_seconds=1) as server:
        job_id = submit(server, tmp_path)
        eventually(lambda: job(server, job_id)["progress"].get("step"), seconds=60)
        VICTIMS[victim](server)
        eventually(lambda: job(server, job_id)["status"] in ("succeeded", "failed", "cancelled"), seconds=120)

        ended = job(server, job_id)
        assert (ended["status"], ended["attempt"]) == ("succeeded", ATTEMPTS[victim]), ended["error"]
        manifests = list((server.data / "artifacts" / "jobs").rglob("manifest.json"))
        assert len(manifests) == 1
        events = server.client.get(f"/v1/jobs/{job_id}/events", params={"limit": 1000}).json()["data"]
        assert [event["type"] for event in events].count("job.succeeded") == 1
        assert [event["number"] for event in events] == list(range(1, len(events) + 1))
        assert server.stop() == 0
