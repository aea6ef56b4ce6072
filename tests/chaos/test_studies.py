"""A study ends whole, whatever dies meanwhile: every cell has one job, and no job is run twice."""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.chaos.harness.deployment import Deployment, deployed
from tests.chaos.harness.rows import reader
from tests.support.gateway_process import free_port
from tests.support.processes import eventually
from tests.support.serve_process import Served, environment, served
from tests.support.tiny_models import tiny_model

pytestmark = [pytest.mark.chaos, pytest.mark.long, pytest.mark.timeout(500)]

ATTEMPTS = 10
SEEDS = [1, 2]
OFTEN: dict[str, object] = {
    "lease_seconds": 4,
    "retry_seconds": 0.5,
    "reap_seconds": 1,
    "wake_again_seconds": 1,
    "checkpoint_seconds": 0.5,
    "study_seconds": 0.3,
}


def inputs(folder: Path) -> Path:
    rows = [f"{'a joy full of wit' if row % 2 else 'a dull and lifeless story'} {row},{row % 2}" for row in range(80)]
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    tiny_model("bert", folder / "bert")
    return folder


def grid(folder: Path, **more: Any) -> dict[str, Any]:
    """Twelve cells that train for a second or so; those of a seed share their baseline."""
    table = {"dataset": str(folder / "reviews.csv"), "text_columns": ["text"], "label_column": "label"}
    return {
        "models": [str(folder / "bert")],
        "tasks": [table],
        "strategies": ["top", "bottom", "symmetric"],
        "drops": [1, 2],
        "recoveries": [{"epochs": 5}],
        "seeds": SEEDS,
        "job": {"limits": {"max_attempts": ATTEMPTS}, "evaluation": {"latency": {"batch_sizes": []}}},
        **more,
    }


def post(client: httpx.Client, body: dict[str, Any]) -> str:
    answer = client.post("/v1/studies", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def study(client: httpx.Client, study_id: str) -> dict[str, Any]:
    """None that answers is nobody's fault while gateways are killed."""
    with suppress(httpx.TransportError):
        answer = client.get(f"/v1/studies/{study_id}")
        return dict(answer.json()) if answer.status_code == httpx.codes.OK else {}
    return {}


def finished(client: httpx.Client, study_id: str) -> bool:
    time.sleep(0.3)  # what is asked for all the time would slow down what it waits for
    return study(client, study_id).get("status") == "finished"


@contextmanager
def again_and_again(kill: Callable[[], None], url: str) -> Iterator[None]:
    """``kill`` in turn, whenever one more job has succeeded: however slow the machine is, there is progress between."""
    ended, before = threading.Event(), 0

    def rage() -> None:
        nonlocal before
        while not ended.wait(0.2):
            done = succeeded(url)
            if done > before and not ended.wait(0.7):  # into the next one
                before = done
                with suppress(psutil.NoSuchProcess):
                    kill()

    thread = threading.Thread(target=rage)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def succeeded(url: str) -> int:
    with reader(url) as rows:
        return len(rows("SELECT id FROM jobs WHERE status = 'succeeded'"))


def victims(server: Served) -> Iterator[Callable[[], object]]:
    def kill(process: psutil.Process | None) -> None:
        if process is not None:
            process.kill()

    return itertools.cycle(
        (
            lambda: kill(server.child("worker")),
            lambda: kill(server.child("gateway")),
            lambda: kill(server.runner),
            lambda: shutil.rmtree(server.data / "broker", ignore_errors=True),
        )
    )


def kill_next(turns: Iterator[Callable[[], object]]) -> None:
    kill = next(turns)
    kill()


def check_whole(client: httpx.Client, url: str, study_id: str, cells: int) -> None:
    """The table and the rows beneath it."""
    shown = study(client, study_id)
    of_table = [cell for row in shown["table"] for cell in row["cells"]]
    assert sorted(cell["number"] for cell in of_table) == list(range(cells))
    ran = [cell for cell in of_table if cell["job_id"]]
    assert len({cell["job_id"] for cell in ran}) == len(ran), "no two cells have one job"
    assert {cell["state"] for cell in ran} == {"succeeded"}
    assert all(cell["score_after"] is not None for cell in ran), "no number is missing"
    assert shown["progress"]["jobs"] == len(ran)
    with reader(url) as rows:
        jobs = rows("SELECT id, study_id, status, attempt, max_attempts FROM jobs")
        waits = rows("SELECT number FROM study_cells WHERE state = 'waiting'")
    assert {job.id for job in jobs} == {cell["job_id"] for cell in ran}, "no job without a cell"
    assert {job.study_id for job in jobs} == {study_id}
    assert all(1 <= job.attempt <= job.max_attempts == ATTEMPTS for job in jobs)
    assert waits == []
    for job in jobs:
        told = client.get(f"/v1/jobs/{job.id}/events", params={"limit": 1000}).json()["data"]
        assert [event["type"] for event in told].count("job.succeeded") == 1
        assert [event["number"] for event in told] == list(range(1, len(told) + 1))


def baselines(url: str) -> int:
    with reader(url) as rows:
        return len(rows("SELECT prefix FROM cache WHERE state = 'made' AND kind = 'baseline'"))


def database(server: Served) -> str:
    return f"sqlite:///{server.data}/layercut.db"


def test_everyone_is_killed_again_and_again(tmp_path: Path) -> None:
    body = grid(inputs(tmp_path))
    with served(tmp_path, model_roots=tmp_path, data_roots=tmp_path, **OFTEN) as server:
        study_id, turns = post(server.client, body), victims(server)
        with again_and_again(lambda: kill_next(turns), database(server)):
            eventually(lambda: finished(server.client, study_id), seconds=400)
        eventually(server.healthy)
        check_whole(server.client, database(server), study_id, cells=12)
        assert len(list((server.data / "artifacts").glob("jobs/*/attempts/*/manifest.json"))) == 12
        assert baselines(database(server)) == len(SEEDS), "each was trained once"


@pytest.mark.long
def test_two_gateways_feed_two_workers_and_all_of_them_are_killed() -> None:
    with deployed("production", gateways=2, workers=2, study_seconds=0.2, study_window=5) as here:
        rng = random.Random(20)
        with here.client() as client:
            study_id = post(client, grid(here.inputs))
        with again_and_again(lambda: rng.choice(processes(here)).kill(), here.database_url):
            eventually(lambda: any_finished(here, study_id), seconds=400)
        eventually(here.ready)
        with here.client(1) as client:
            check_whole(client, here.database_url, study_id, cells=12)
        assert baselines(here.database_url) == len(SEEDS)


def processes(here: Deployment) -> list[psutil.Process]:
    return here.gateways + here.workers + here.runners


def any_finished(here: Deployment, study_id: str) -> bool:
    for number in range(2):
        with here.client(number) as client:
            if finished(client, study_id):
                return True
    return False


def test_a_gateway_dies_between_the_jobs_and_their_wake_up(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """What it has committed is in the queue all the same, and the rest is fed by whoever comes after it."""
    body = grid(inputs(tmp_path), tasks=["none"], recoveries=[{"method": "none"}], seeds=[1])
    roots = {"model_roots": tmp_path, "data_roots": tmp_path, "study_window": 4}
    script, port = Path(__file__).parents[1] / "support" / "dies_before_waking.py", free_port()
    settings = environment(data_dir=tmp_path / "data", **roots)
    with (tmp_path / "gateway.log").open("wb") as log:
        command = [sys.executable, script, "gateway", "--port", str(port)]
        process = subprocess.Popen(command, env=settings, stdout=log, stderr=log)
    request.addfinalizer(process.kill)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
        eventually(lambda: healthy(client, process), seconds=60)
        with suppress(httpx.TransportError):
            client.post("/v1/studies", json=body)
    assert process.wait(30) == -9
    url = f"sqlite:///{tmp_path}/data/layercut.db"
    with reader(url) as rows:
        assert 1 <= len(rows("SELECT id FROM jobs")) <= 4
        ((study_id,),) = rows("SELECT id FROM studies")
    with served(tmp_path, **OFTEN, **roots) as server:
        eventually(lambda: finished(server.client, study_id), seconds=300)
        shown = study(server.client, study_id)
        assert shown["progress"]["by_state"] == {"succeeded": 6}
        with reader(url) as rows:
            jobs = rows("SELECT id, attempt FROM jobs")
        assert len(jobs) == shown["progress"]["jobs"]
        assert {job.attempt for job in jobs} == {1}


def healthy(client: httpx.Client, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None
    with suppress(httpx.TransportError):
        return client.get("/healthz").status_code == httpx.codes.OK
    return False


def test_the_worker_of_a_bracket_is_killed(tmp_path: Path) -> None:
    """Who waits for its search waits on, and is judged by what the second attempt has found."""
    body = grid(inputs(tmp_path), drops=[2], seeds=[1], stop_early=True)
    with served(tmp_path, model_roots=tmp_path, data_roots=tmp_path, **OFTEN) as server:
        study_id = post(server.client, body)
        eventually(lambda: stage_of_pilot(server, study_id) in ("planning", "scoring"), seconds=90)
        waiting = study(server.client, study_id)["progress"]["by_state"]
        assert waiting == {"running": 1, "waiting": 3}
        worker = server.child("worker")
        assert worker is not None
        worker.kill()
        eventually(lambda: finished(server.client, study_id), seconds=400)
        shown = study(server.client, study_id)
        cells = {row["strategy"]: row["cells"][0] for row in shown["table"]}
        assert cells["auto"]["state"] == "succeeded"
        assert server.client.get(f"/v1/jobs/{cells['auto']['job_id']}").json()["attempt"] == 2
        assert {cell["state"] for cell in cells.values()} <= {"succeeded", "stopped"}
        assert all(cell["reason"] for cell in cells.values() if cell["state"] == "stopped")
        check_whole(server.client, database(server), study_id, cells=4)


def stage_of_pilot(server: Served, study_id: str) -> str | None:
    found = server.client.get("/v1/jobs", params={"study": study_id}).json()["data"]
    assert len(found) <= 1, "others wait for it"
    time.sleep(0.05)
    return found[0]["stage"] if found else None
