"""Ten thousand jobs in the embedded mode: the list and the API answer as if there were few."""

from __future__ import annotations

import statistics
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert, select

from service.state import GatewayState
from store.tables import job_metadata, jobs

MANY = 10_000
#: Of the median, in seconds.
GOAL = 0.2

PATHS = [
    "/", "/?status=queued", "/?status=failed", "/?task=none", "/?metadata=team%3Dt3", "/?metadata=team%3Dsearch",
    "/?model=acme/bert", "/v1/jobs?limit=25",
]  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture
def filled(client: TestClient, state: GatewayState, body: dict[str, Any]) -> GatewayState:
    """The first job is the oldest, and all others are like it."""
    job_id = client.post("/v1/jobs", json={**body, "metadata": {"team": "search"}}).json()["id"]
    with state.engine.begin() as connection:
        row = dict(connection.execute(select(jobs).where(jobs.c.id == job_id)).one()._mapping)
        ids = [f"job_{2**30 + number:024d}" for number in range(MANY)]
        connection.execute(insert(jobs), [{**row, "id": one} for one in ids])
        pairs = [{"job_id": one, "key": "team", "value": f"t{number % 7}"} for number, one in enumerate(ids)]
        connection.execute(insert(job_metadata), pairs)
    return state


def test_a_page_of_many_is_as_fast_as_one_of_few(client: TestClient, filled: GatewayState) -> None:
    took = {path: statistics.median(_seconds(client, path) for _ in range(7)) for path in PATHS}
    assert {path: seconds for path, seconds in took.items() if seconds > GOAL} == {}


def _seconds(client: TestClient, path: str) -> float:
    began = time.perf_counter()
    assert client.get(path).status_code == 200
    return time.perf_counter() - began
