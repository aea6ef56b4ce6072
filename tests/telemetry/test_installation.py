"""Real processes, seen from outside: their logs, the trace of a job through both, who is there, who is healthy."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.support.installation import SPAN, TRACE, Installation
from tests.support.processes import eventually


def test_a_trace_goes_from_the_request_to_the_files(installation: Installation) -> None:
    received = installation.receiver
    assert (installation.job["trace_id"], installation.job["request_id"]) == (TRACE, "asked-by-a-test")
    wanted = {"POST /v1/jobs", "admission", "attempt", "staging", "resolving", "pruning", "publishing"}
    eventually(lambda: wanted <= set(received.of(TRACE)))
    spans = received.of(TRACE)
    request, attempt = spans["POST /v1/jobs"], spans["attempt"]
    assert (request.parent_id, request.service) == (SPAN, "layercut-gateway")
    assert request.attributes["http.response.status_code"] == 202
    assert request.attributes["http.route"] == "/v1/jobs"
    assert request.attributes["layercut.request_id"] == "asked-by-a-test"
    assert spans["admission"].parent_id == attempt.parent_id == request.span_id
    assert (attempt.service, attempt.attributes["layercut.job_id"]) == ("layercut-worker", installation.job["id"])
    assert {spans[name].parent_id for name in ("staging", "resolving", "pruning", "publishing")} == {attempt.span_id}


def test_every_line_of_every_process_is_json_and_those_of_an_attempt_name_it(installation: Installation) -> None:
    gateway = installation.lines(installation.folder / "gateway.log")
    posted = [line for line in gateway if line["event"] == "request" and line["method"] == "POST"]
    assert posted[0]["request_id"] == "asked-by-a-test"
    assert posted[0]["trace_id"] == TRACE
    worker = installation.lines(installation.worker.log)
    whose = {"job_id": installation.job["id"], "attempt": 1, "request_id": "asked-by-a-test", "trace_id": TRACE}
    told = [line for line in worker if line.get("job_id") == installation.job["id"]]
    assert all({name: line[name] for name in whose} == whose and line["worker"] for line in told)
    said = [line["event"] for line in told]
    for words in ("the-runner-says-so", "attempt 1 starts", "attempt 1 ends"):
        assert any(words in line for line in said), words
    assert {"level", "logger", "timestamp"} <= set.intersection(*(set(line) for line in gateway + worker))
    assert not any("job_id" in line for line in worker if "ready." in line["event"])


def test_the_worker_is_listed_with_what_it_does(installation: Installation, tmp_path: Path) -> None:
    def worker() -> dict[str, object]:
        (found,) = installation.gateway.get("/v1/workers").json()["data"]
        return dict(found)

    assert worker()["about"]["pid"] == installation.worker.process.pid  # type: ignore[index]
    acts = f"stage:pruning touch:{tmp_path}/here wait:{tmp_path}/go succeed"
    body = {**installation.body, "metadata": {"acts": acts}}
    job_id = installation.gateway.post("/v1/jobs", json=body).json()["id"]
    eventually((tmp_path / "here").exists)
    busy = eventually(lambda: worker() if worker()["state"] == "busy" else None)
    assert (busy["job_id"], busy["attempt"]) == (job_id, 1)
    (tmp_path / "go").touch()
    eventually(lambda: worker()["state"] == "idle")


def test_it_answers_for_its_health_by_itself(installation: Installation) -> None:
    answer = httpx.get(f"http://127.0.0.1:{installation.worker_port}/healthz", trust_env=False)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
