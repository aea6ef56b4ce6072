"""For those who run it: probes, versions, request ids, the catalog, and what happens when something breaks."""

from __future__ import annotations

import io
import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.architectures import ARCHITECTURES
from api_schemas.errors import ERRORS
from api_schemas.metrics import METRICS
from api_schemas.strategies import STRATEGIES
from api_schemas.tasks import TASKS
from api_schemas.workers import Measure, SandboxReport
from service.app import create_app
from service.settings import GatewaySettings
from service.state import GatewayState
from telemetry.logs import configure_logs

CHECKS = ("database", "artifacts", "broker", "disk")


def test_a_living_gateway_is_healthy_ready_and_has_a_version(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz").json()
    assert ready == {"status": "ok", "checks": dict.fromkeys(CHECKS, "ok"), "reasons": {}, "workers": []}
    assert client.get("/version").json()["name"] == "layercut"


def test_it_shows_the_workers_that_live_and_what_locks_their_runners_in(
    client: TestClient, state: GatewayState
) -> None:
    measures = [Measure(name="files", on=True, detail="tried"), Measure(name="own_user", on=False, detail="no root")]
    state.workers.announce("host-1", SandboxReport(complete=True, measures=measures))
    (worker,) = client.get("/readyz").json()["workers"]
    assert worker["name"] == "host-1"
    assert worker["seen_at"] >= worker["started_at"]
    assert worker["sandbox"] == {"complete": True, "measures": [measure.model_dump() for measure in measures]}


def test_without_a_broker_it_is_degraded_and_takes_jobs(settings: GatewaySettings, body: dict[str, Any]) -> None:
    settings.broker_url = "redis://127.0.0.1:1/0"
    with TestClient(create_app(settings)) as client:
        answer = client.get("/readyz")
        assert answer.status_code == 200
        assert answer.json()["status"] == "degraded"
        assert answer.json()["checks"]["broker"] == "unreachable"
        assert answer.json()["reasons"].keys() == {"broker"}
        assert client.post("/v1/jobs", json=body).status_code == 202


def test_without_its_database_it_is_not_ready(client: TestClient, state: GatewayState) -> None:
    with state.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE jobs RENAME TO gone")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["database"] == "unreachable"
    assert client.get("/healthz").status_code == 200


def test_what_nobody_foresaw_is_a_problem_without_details(client: TestClient, state: GatewayState) -> None:
    with state.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE jobs RENAME TO gone")
    answer = client.get("/v1/jobs", headers={"X-Request-ID": "mine-1"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["request_id"]) == ("internal", "mine-1")
    for secret in ("gone", "SELECT", "jobs.", str(state.settings.data_dir), "Traceback"):
        assert secret not in answer.text


def test_every_answer_has_a_request_id(client: TestClient) -> None:
    first, second = (client.get("/healthz").headers["X-Request-ID"] for _ in range(2))
    assert first != second
    assert client.get("/healthz", headers={"X-Request-ID": "abc-1"}).headers["X-Request-ID"] == "abc-1"
    assert client.get("/healthz", headers={"X-Request-ID": "a b\tc"}).headers["X-Request-ID"] != "a b\tc"
    lost = client.get("/nowhere")
    assert lost.headers["X-Request-ID"] == lost.json()["request_id"]


def test_an_unknown_address_and_a_wrong_method_are_problems(client: TestClient) -> None:
    nowhere, wrong = client.get("/v2/jobs"), client.delete("/v1/strategies")
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert wrong.headers["Allow"] == "GET"
    assert client.request("OPTIONS", "/v1/jobs").headers["Allow"] == "GET, POST"


def test_every_problem_type_answers_with_what_it_means(client: TestClient) -> None:
    for code, kind in ERRORS.items():
        answer = client.get(f"/problems/{code.replace('_', '-')}").json()
        assert (answer["code"], answer["status"]) == (code, kind.status)


def test_an_unknown_problem_type_is_not_found(client: TestClient) -> None:
    assert client.get("/problems/bad-weather").json()["code"] == "not_found"


def test_the_catalog_is_the_tables(client: TestClient) -> None:
    def names(path: str, key: str = "data") -> list[str]:
        return [row["name"] for row in client.get(path).json()[key]]

    assert names("/v1/strategies") == list(STRATEGIES)
    assert names("/v1/architectures") == list(ARCHITECTURES)
    assert names("/v1/tasks") == list(TASKS)
    assert names("/v1/tasks", "metrics") == list(METRICS)
    rows = {row["name"]: row for row in client.get("/v1/tasks").json()["data"]}
    assert rows["mnli"]["splits"] == ["validation_matched", "validation_mismatched"]
    assert rows["stsb"]["kind"] == "regression"


def test_what_can_be_the_score_is_told_from_what_is_measured_beside_it(client: TestClient) -> None:
    answer = client.get("/v1/tasks").json()
    embedding = next(row for row in answer["kinds"] if row["name"] == "embedding")
    assert (embedding["metrics"], embedding["also"]) == (["cosine", "spearman"], ["cosine_p5", "neighbours"])
    metrics = {row["name"]: (row["kinds"], row["also"]) for row in answer["metrics"]}
    assert metrics["cosine_p5"] == metrics["neighbours"] == ([], ["embedding"])
    assert metrics["spearman"] == (["regression", "embedding"], [])


def test_the_gateway_never_imports_torch(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from fastapi.testclient import TestClient\n"
        "from service.app import create_app\n"
        "from service.settings import GatewaySettings\n"
        "with TestClient(create_app(GatewaySettings(data_dir=sys.argv[1])), base_url=sys.argv[2]) as client:\n"
        "    assert client.post('/v1/jobs', json={'model': '/nowhere', 'task': 'sst2'}).status_code == 422\n"
        "    assert client.get('/readyz').status_code == 200\n"
        "heavy = {'torch', 'transformers', 'tensorflow', 'sklearn', 'scipy', 'workers'}\n"
        "found = heavy.intersection(name.partition('.')[0] for name in sys.modules)\n"
        "assert not found, found\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), "http://localhost"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_gateway_starts_on_an_empty_folder_and_finds_its_jobs_again(
    settings: GatewaySettings, body: dict[str, Any]
) -> None:
    with TestClient(create_app(settings)) as client:
        job = client.post("/v1/jobs", json=body).json()
    shutil.rmtree(settings.data_dir / "broker")
    with TestClient(create_app(settings)) as client:
        assert client.get(job["urls"]["self"]).json()["id"] == job["id"]


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Reads the lines that were logged since the test began."""
    root, stream = logging.getLogger(), io.StringIO()
    before, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logs("INFO")
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers, root.level = before, level
    logging.getLogger("uvicorn.access").disabled = False
    for name in ("httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_a_request_is_one_line_of_json_without_the_customers_words(
    client: TestClient, body: dict[str, Any], logs: Callable[[], list[dict[str, Any]]]
) -> None:
    client.post(
        "/v1/jobs?validate_only=true&token=hush", json={**body, "suffix": "hush"}, headers={"X-Request-ID": "r1"}
    )
    lines = logs()
    (line,) = [line for line in lines if line.get("request_id") == "r1"]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/jobs", 200)
    assert "hush" not in json.dumps(lines)


def test_a_failure_is_logged_under_the_id_that_the_client_got(
    client: TestClient, state: GatewayState, logs: Callable[[], list[dict[str, Any]]]
) -> None:
    with state.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE jobs RENAME TO gone")
    client.get("/v1/jobs", headers={"X-Request-ID": "r2"})
    (line,) = [line for line in logs() if line["event"] == "request_failed"]
    assert line["request_id"] == "r2"
    assert "no such table" in line["exception"]
