"""A deploy: two gateways and three workers are restarted one after the other while thirty jobs are under way."""

from __future__ import annotations

import re
import signal
from typing import Any

import httpx
import pytest

from tests.chaos.harness.deployment import Production, deployed
from tests.chaos.harness.services import wait_until
from tests.support.processes import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.long, pytest.mark.timeout(500)]

JOBS, TRAINED = 30, 3
ENDED = ("succeeded", "failed", "cancelled")


def body(deployment: Production, number: int) -> dict[str, Any]:
    """The first, one for each worker, train for some seconds in real runners; the others take a second each."""
    model, limits = str(deployment.inputs / "bert"), {"max_attempts": 2}
    if number >= TRAINED:
        quick = {"metadata": {"quick": "1 4 500 succeed"}, "recovery": {"method": "none"}, "task": "none"}
        return {"model": model, "prune": {"drop": 2}, "limits": limits, **quick}
    table = {"dataset": str(deployment.inputs / "reviews.csv"), "text_columns": ["text"], "label_column": "label"}
    return {
        "model": model, "task": table, "limits": limits, "seed": number,
        "recovery": {"epochs": 60}, "evaluation": {"latency": {"batch_sizes": []}},
    }  # fmt: skip


def asked(deployment: Production, path: str) -> dict[str, Any]:
    """Of the gateway that answers: one may be on its way down or up."""
    found: list[dict[str, Any]] = []

    def answered() -> bool:
        for number in range(2):
            try:
                with deployment.client(number) as client:
                    found.append(client.get(path).raise_for_status().json())
                return True
            except httpx.HTTPError:
                continue
        return False

    eventually(answered)
    return found[-1]


def told(deployment: Production, job_id: str) -> list[dict[str, Any]]:
    return list(asked(deployment, f"/v1/jobs/{job_id}/events?limit=1000")["data"])


def with_checkpoint(deployment: Production) -> set[str]:
    """Jobs that run now, and have kept their state."""
    running = asked(deployment, "/v1/jobs?status=running&limit=100")["data"]
    return {
        job["id"] for job in running if any(event["data"].get("checkpoint") for event in told(deployment, job["id"]))
    }


def resumed_at(events: list[dict[str, Any]]) -> list[int]:
    found = [re.match(r"resumed at step (\d+)", event["message"]) for event in events]
    return [int(match[1]) for match in found if match]


def test_a_rolling_restart_loses_nothing_and_no_training_begins_again() -> None:
    with deployed("production", lease_seconds=20, kill_grace_seconds=8) as deployment:
        assert isinstance(deployment, Production)
        with deployment.client() as client:
            made = [client.post("/v1/jobs", json=body(deployment, number)) for number in range(JOBS)]
        ids = [answer.raise_for_status().json()["id"] for answer in made]
        eventually(lambda: len(with_checkpoint(deployment)) == TRAINED, seconds=120)

        interrupted: set[str] = set()
        for service in deployment.programs:
            if service in deployment.worker_services:
                interrupted |= with_checkpoint(deployment)
            starts = service.starts
            service.signal(signal.SIGTERM)
            assert wait_until(lambda: service.starts > starts, 60)  # noqa: B023 - asked before the next turn
            assert wait_until(deployment.ready, 90)

        eventually(lambda: all(asked(deployment, f"/v1/jobs/{one}")["status"] in ENDED for one in ids), seconds=300)
        jobs = [asked(deployment, f"/v1/jobs/{one}") for one in ids]
        assert [(job["id"], job["error"]) for job in jobs if job["status"] != "succeeded"] == []
        handed_back = 0
        for job in jobs:
            events = told(deployment, job["id"])
            lost = [event["data"]["reason"] for event in events if event["type"] == "job.attempt_lost"]
            assert all("told to stop" in reason for reason in lost), "none was lost, all were handed back"
            assert job["attempt"] == 1 + len(lost)
            if lost and job["id"] in interrupted:
                handed_back += 1
                assert resumed_at(events), f"{job['id']} began again"
                assert min(resumed_at(events)) > 0
        assert handed_back, "a training was interrupted"
