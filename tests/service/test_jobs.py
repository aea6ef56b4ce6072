"""Jobs at the HTTP door: asked for, listed, looked at, waited for, cancelled."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.events import EventType
from service.state import GatewayState
from tests.support.events import say
from tests.support.gateway_worker import claim


def test_a_job_is_accepted_and_says_where_it_is(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/v1/jobs", json=body)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}" == job["urls"]["self"]
    assert job["status"] == "queued"
    assert job["progress"]["queue_position"] == 1
    assert set(job["urls"]) == {"self", "events", "logs", "cancel", "retry", "report", "files", "figures", "download"}
    assert client.get(answer.headers["Location"]).json() == job
    assert client.get(job["urls"]["events"]).json()["data"][0]["type"] == "job.queued"


def test_the_request_is_echoed_as_sent_and_resolved_in_full(client: TestClient, body: dict[str, Any]) -> None:
    job = client.post("/v1/jobs", json=body).json()
    assert job["request"] == body
    resolved = job["resolved"]
    assert resolved["seed"] == 42
    assert resolved["limits"]["max_attempts"] == 3
    assert resolved["plan"]["dropped"] == [4, 5]
    assert resolved["plan"]["parameters_before"] == 40 + 6 * 16
    assert resolved["plan"]["parameters_after"] == 40 + 4 * 16
    assert resolved["recovery"]["method"] == "none"
    assert resolved["recovery"]["max_length"] == 32


def test_a_hub_model_is_accepted_while_the_hub_is_away(client: TestClient) -> None:
    answer = client.post("/v1/jobs", json={"model": "layercut-test/never-cached", "task": "sst2"})
    assert answer.status_code == 202
    assert answer.json()["resolved"]["plan"] is None
    assert answer.json()["resolved"]["recovery"] is None


def test_validate_only_resolves_and_stores_nothing(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/v1/jobs?validate_only=true", json=body)
    assert answer.status_code == 200
    assert answer.json()["id"] is None
    assert answer.json()["request"] == body
    assert answer.json()["resolved"]["plan"]["kept"] == [0, 1, 2, 3]
    assert "Location" not in answer.headers
    assert client.get("/v1/jobs").json()["data"] == []


def test_validate_only_refuses_what_would_be_refused(client: TestClient, body: dict[str, Any]) -> None:
    body["prune"]["drop"] = 6
    assert client.post("/v1/jobs?validate_only=true", json=body).json()["code"] == "invalid_layers"


def test_a_new_job_wakes_a_worker(client: TestClient, state: GatewayState, body: dict[str, Any]) -> None:
    client.post("/v1/jobs", json=body)
    state.wakeups.stop()
    assert state.wakeups.waiting() == 1


def test_the_list_is_newest_first_and_paged(client: TestClient, body: dict[str, Any]) -> None:
    ids = [client.post("/v1/jobs", json=body).json()["id"] for _ in range(5)]
    first = client.get("/v1/jobs?limit=2").json()
    second = client.get("/v1/jobs", params={"limit": 2, "after": first["next_cursor"]}).json()
    third = client.get("/v1/jobs", params={"limit": 2, "after": second["next_cursor"]}).json()
    seen = [job["id"] for page in (first, second, third) for job in page["data"]]
    assert seen == ids[::-1]
    assert [page["has_more"] for page in (first, second, third)] == [True, True, False]
    assert third["next_cursor"] is None
    assert all(job["urls"]["self"] for job in first["data"])


def test_a_page_size_outside_the_bounds_is_brought_inside(client: TestClient, body: dict[str, Any]) -> None:
    for _ in range(2):
        client.post("/v1/jobs", json=body)
    assert len(client.get("/v1/jobs?limit=0").json()["data"]) == 1
    assert len(client.get("/v1/jobs?limit=100000").json()["data"]) == 2


def test_the_list_is_filtered(client: TestClient, state: GatewayState, body: dict[str, Any]) -> None:
    plain = client.post("/v1/jobs", json=body).json()["id"]
    marked = client.post("/v1/jobs", json={**body, "metadata": {"team": "search", "run": "7"}}).json()["id"]
    claim(state)

    def found(**query: str) -> list[str]:
        return [job["id"] for job in client.get("/v1/jobs", params=query).json()["data"]]

    assert found(status="running") == [plain]
    assert found(status="queued") == [marked]
    assert found(**{"metadata[team]": "search", "metadata[run]": "7"}) == [marked]
    assert found(**{"metadata[team]": "ads"}) == []
    assert found(task="none") == [marked, plain]
    assert found(task="rte") == []
    assert found(model=body["model"]) == [marked, plain]


@pytest.mark.parametrize("query", ["status=finished", "limit=many"])
def test_a_filter_that_means_nothing_is_refused(client: TestClient, query: str) -> None:
    answer = client.get(f"/v1/jobs?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == query.split("=", maxsplit=1)[0]


def test_a_cursor_of_someone_else_is_refused(client: TestClient) -> None:
    answer = client.get("/v1/jobs?after=page2")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


def test_a_queued_job_is_cancelled_at_once_and_only_once(client: TestClient, body: dict[str, Any]) -> None:
    job = client.post("/v1/jobs", json=body).json()
    first, second = (client.post(job["urls"]["cancel"]) for _ in range(2))
    assert (first.status_code, first.json()["status"]) == (200, "cancelled")
    assert second.json() == first.json()


def test_a_running_job_is_told_to_stop(client: TestClient, state: GatewayState, body: dict[str, Any]) -> None:
    job = client.post("/v1/jobs", json=body).json()
    taken = claim(state)
    answer = client.post(job["urls"]["cancel"])
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelling")
    assert state.store.heartbeat(taken.lease) == "cancelling"


def test_a_finished_job_is_not_cancelled(client: TestClient, finished: str) -> None:
    answer = client.post(f"/v1/jobs/{finished}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_already_terminal")


@pytest.mark.parametrize("path", ["", "/events", "/report", "/files", "/files/config.json", "/download"])
def test_an_unknown_job_is_not_found(client: TestClient, path: str) -> None:
    answer = client.get(f"/v1/jobs/job_00000000000000000000{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


def test_an_unknown_job_is_neither_cancelled_nor_waited_for_nor_watched(client: TestClient) -> None:
    address = "/v1/jobs/job_00000000000000000000"
    assert client.post(f"{address}/cancel").status_code == 404
    assert client.get(address, headers={"Prefer": "wait=30"}).status_code == 404
    assert client.get(f"{address}/events", headers={"Accept": "text/event-stream"}).status_code == 404


def test_prefer_wait_answers_when_something_changes(
    client: TestClient, state: GatewayState, body: dict[str, Any]
) -> None:
    job = client.post("/v1/jobs", json=body).json()
    answers: list[Any] = []
    waiter = threading.Thread(
        target=lambda: answers.append(client.get(job["urls"]["self"], headers={"Prefer": "wait=60"}))
    )
    waiter.start()
    while not state.feed._channels:
        waiter.join(0.01)
    claim(state)
    waiter.join(30)
    assert answers[0].json()["status"] == "running"
    assert answers[0].headers["Preference-Applied"] == "wait=60"


def test_prefer_wait_ends_when_the_time_is_over(client: TestClient, body: dict[str, Any]) -> None:
    job = client.post("/v1/jobs", json=body).json()
    answer = client.get(job["urls"]["self"], headers={"Prefer": "respond-async, wait=1"})
    assert answer.json()["status"] == "queued"


def test_prefer_wait_does_not_wait_for_a_job_that_has_ended(client: TestClient, finished: str) -> None:
    assert client.get(f"/v1/jobs/{finished}", headers={"Prefer": "wait=60"}).json()["status"] == "succeeded"


def test_a_failed_job_is_answered_with_200_and_its_error(
    client: TestClient, state: GatewayState, body: dict[str, Any]
) -> None:
    job = client.post("/v1/jobs", json=body).json()
    error = {"code": "out_of_memory", "message": "the device is full", "stage": "recovering"}
    state.store.finish(claim(state).lease, say(EventType.FAILED, error=error))
    answer = client.get(job["urls"]["self"])
    assert answer.status_code == 200
    assert answer.json()["error"]["code"] == "out_of_memory"
    report = client.get(job["urls"]["report"])
    assert (report.status_code, report.json()["code"]) == (409, "result_not_ready")
    assert "the device is full" in report.json()["detail"]
