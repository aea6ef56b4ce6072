"""Wrong and hostile input of studies: each is answered with what is to blame, at once, and nothing is stored."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.studies.request import Budget, ResumeStudy
from api_schemas.tenants import Quotas, Scope
from service.app import create_app
from service.settings import GatewaySettings
from service.state import GatewayState
from service.studies.feeding import feed_studies
from store.audit import Actor
from store.keys import KeyStore
from tests.support.gateway_worker import claim, succeed
from tests.support.study_samples import ACTOR

LIST_OF_200 = list(range(200))


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    """The tests feed the queue."""
    return settings.model_copy(update={"study_seconds": 3600.0})


@pytest.fixture
def grid(make_model: Callable[..., Path]) -> dict[str, Any]:
    return {"models": [str(make_model())], "tasks": ["none"], "strategies": ["top", "bottom"], "drops": [2]}


def blamed(client: TestClient, body: dict[str, Any]) -> tuple[str, str]:
    began = time.monotonic()
    answer = client.post("/v1/studies", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert time.monotonic() - began < 10
    assert answer.status_code == 422, answer.text[:500]
    told = answer.json()
    return told["errors"][0]["pointer"], told["detail"]


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "80 000 cells": ({"seeds": LIST_OF_200, "drops": [1 + at for at in LIST_OF_200]}, "/", "cells"),
    "no drop": ({"drops": []}, "/drops", "1"),
    "no lists": ({"drops": {}}, "/drops", ""),
    "0": ({"drops": [0]}, "/drops/0", ""),
    "below 0": ({"drops": [-1]}, "/drops/0", ""),
    "1e308": ({"drops": [1e308]}, "/drops/0", ""),
    "a number of 400 digits": ({"drops": [10**400]}, "/drops/0", ""),
    "true": ({"drops": [True]}, "/drops/0", ""),
    "a text": ({"drops": ["2"]}, "/drops/0", ""),
    "1.5": ({"drops": [1.5]}, "/drops/0", ""),
    "null": ({"drops": [None]}, "/drops/0", ""),
    "the same twice": ({"drops": [2, 2]}, "/drops/1", "twice"),
    "a strategy twice": ({"strategies": ["top", "top"]}, "/strategies/1", "twice"),
    "nearly a strategy": ({"strategies": ["topp"]}, "/strategies/0", "top"),
    "nearly a task": ({"tasks": ["rtee"]}, "/tasks/0", "rte"),
    "nearly a method": ({"recoveries": [{"method": "distil"}]}, "/recoveries/0/method", "distill"),
    "nearly an effort": ({"efforts": ["hihg"]}, "/efforts/0", "high"),
    "nearly a field": ({"strategy": ["top"]}, "/strategy", "strategies"),
    "a field of a job": ({"model": "a/b"}, "/model", "models"),
    "201 seeds": ({"seeds": list(range(201))}, "/seeds", "200"),
    "a seed below 0": ({"seeds": [-1]}, "/seeds/0", ""),
    "a seed that is no number": ({"seeds": ["one"]}, "/seeds/0", ""),
    "a path that is not allowed": ({"models": ["/etc"]}, "/models/0", ""),
    "an upload that is not there": ({"models": ["upload:mdl_" + "0" * 24]}, "/models/0", ""),
    "a job that is not there": ({"models": ["job:job_" + "0" * 24]}, "/models/0", ""),
    "seeds where jobs have them": ({"job": {"evaluation": {"seeds": [1]}}}, "/job/evaluation/seeds", "seeds"),
    "a webhook": ({"job": {"webhook": "http://169.254.169.254/"}}, "/job/webhook", ""),
    "17 pairs": ({"job": {"metadata": {str(at): "x" for at in range(17)}}}, "/job/metadata", "16"),
    "a long pair": ({"job": {"metadata": {"a": "x" * 513}}}, "/job/metadata/a", "512"),
    "a long name": ({"name": "x" * 201}, "/name", "200"),
    "no jobs at all": ({"budget": {"jobs": 0}}, "/budget/jobs", ""),
    "no time at all": ({"budget": {"minutes": 0}}, "/budget/minutes", ""),
    "priority beyond": ({"job": {"priority": 101}}, "/job/priority", "100"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str, client: TestClient, grid: dict[str, Any]) -> None:
    changes, pointer, said = WRONG[name]
    found, detail = blamed(client, {**grid, **changes})
    assert found.startswith(pointer), detail
    assert said in detail
    assert client.get("/v1/studies").json()["data"] == []
    assert client.get("/v1/jobs").json()["data"] == []


def test_cells_are_counted_and_not_made(client: TestClient, grid: dict[str, Any]) -> None:
    """200 of each list: no memory is big enough for them."""
    many = {
        "models": [f"acme/model-{at}" for at in LIST_OF_200],
        "tasks": [{"dataset": f"/data/{at}.csv", "text_columns": ["a"], "label_column": "b"} for at in LIST_OF_200],
        "drops": [1 + at for at in LIST_OF_200],
        "seeds": LIST_OF_200,
        "recoveries": [{"epochs": 1 + at / 100} for at in LIST_OF_200],
    }
    answer = client.post("/v1/studies", json={**grid, **many})
    told = answer.json()
    assert (answer.status_code, told["code"]) == (422, "study_too_large"), answer.text[:500]
    assert told["cells"] == 2 * 200**5


@pytest.mark.parametrize("text", ['{"drops": [NaN]}', '{"drops": [Infinity]}', '{"drops": [1e999]}', "[]", "", "{"])
def test_what_is_no_json_is_no_study(text: str, client: TestClient) -> None:
    answer = client.post("/v1/studies", content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text


def test_a_body_of_a_mebibyte_is_too_large(client: TestClient, grid: dict[str, Any]) -> None:
    answer = client.post("/v1/studies", json={**grid, "name": "x" * 2**20})
    assert answer.status_code in (413, 422)


STRANGE = ("study_", "study_" + "0" * 23, "study_" + "0" * 24, "study_" + "O" * 24, "job_" + "0" * 24, "%00", "..%2f..",
           "x" * 2000, "study_%F0%9F%98%80", "'; DROP TABLE studies; --")  # fmt: skip


@pytest.mark.parametrize("study_id", STRANGE)
def test_there_is_no_such_study(study_id: str, client: TestClient) -> None:
    for method, path in (
        ("GET", ""), ("GET", "/table.csv"), ("GET", "/table.md"), ("GET", "/pick"), ("POST", "/cancel"), ("DELETE", "")
    ):  # fmt: skip
        answer = client.request(method, f"/v1/studies/{study_id}{path}")
        assert 400 <= answer.status_code < 500, (method, path, answer.status_code)
    for path, body in (("/resume", {}), ("/cells", {"models": ["a/b"], "tasks": ["none"], "drops": [1]})):
        answer = client.post(f"/v1/studies/{study_id}{path}", json=body)
        assert 400 <= answer.status_code < 500, (path, answer.status_code)


@pytest.mark.parametrize("after", ["x", "study_" + "O" * 24, "job_" + "0" * 24, "\x00", "9" * 5000])
def test_what_is_no_cursor(after: str, client: TestClient) -> None:
    assert client.get("/v1/studies", params={"after": after}).status_code in (400, 422)


@pytest.mark.parametrize("limit", ["0", "-1", "1e9", "99999999999999999999", "x", "NaN"])
def test_a_limit_is_brought_inside_or_refused(limit: str, client: TestClient) -> None:
    assert client.get("/v1/studies", params={"limit": limit}).status_code in (200, 422)


@pytest.mark.parametrize("least", ["NaN", "-1", "2.1", "inf", "-inf", "", "x", "1e400"])
def test_what_nothing_can_keep(least: str, client: TestClient, grid: dict[str, Any]) -> None:
    study = client.post("/v1/studies", json=grid).json()
    answer = client.get(study["urls"]["pick"], params={"min_retention": least})
    assert answer.status_code == 422, answer.text
    assert client.get(study["urls"]["pick"], params={"min_retention": "2"}).status_code == 200


@pytest.mark.parametrize(
    ("accept", "statuses"),
    [
        ("text/csv;q=0.1, text/markdown", {200}), ("*/*", {200}), ("image/png", {406}), ("text/csv;q=0", {406}),
        ("text/*", {200}), ("", {200}), ("a" * 5000, {406}), (";;;,,,q=", {200, 406}), ("text/csv;q=NaN", {200, 406}),
    ],
)  # fmt: skip
def test_forms_that_are_asked_for(accept: str, statuses: set[int], client: TestClient, grid: dict[str, Any]) -> None:
    study = client.post("/v1/studies", json=grid).json()
    assert client.get(study["urls"]["self"], headers={"Accept": accept}).status_code in statuses


def test_no_text_of_ours_is_a_formula(
    client: TestClient, make_model: Callable[..., Path], settings: GatewaySettings
) -> None:
    model = make_model('=HYPERLINK("http:x";"y")|pipe'.replace("/", "_"))
    body = {"models": [str(model)], "tasks": ["none"], "drops": [2], "name": '=1+1|<img src=x>\n# "a"\x1b[2J'}
    study = client.post("/v1/studies", json=body)
    assert study.status_code == 202, study.text
    urls = study.json()["urls"]
    for row in list(csv.reader(io.StringIO(client.get(urls["table_csv"]).text)))[1:]:
        assert not any(value.startswith(("=", "+", "-", "@", "\t", "\r")) for value in row)
    markdown = client.get(urls["table_md"]).text
    assert "\x1b" not in markdown
    assert "<img" not in markdown.replace("\\<", "")
    assert markdown.splitlines()[0].startswith("# ")
    assert not any(line.startswith('# "a"') for line in markdown.splitlines())


def test_cells_are_added_until_there_are_too_many(settings: GatewaySettings, grid: dict[str, Any]) -> None:
    with TestClient(create_app(settings.model_copy(update={"max_study_cells": 5}))) as client:
        study = client.post("/v1/studies", json=grid).json()
        more = {**grid, "drops": [2, 3]}
        assert client.post(study["urls"]["cells"], json=more).status_code == 202
        assert client.post(study["urls"]["cells"], json=more).status_code == 202, "it has them already"
        told = client.post(study["urls"]["cells"], json={**grid, "drops": [4]})
        assert (told.status_code, told.json()["code"]) == (422, "study_too_large")
        assert client.get(study["urls"]["self"]).json()["progress"]["cells"] == 4


def test_models_of_another_tenant_are_not_there(
    settings: GatewaySettings, grid: dict[str, Any], tmp_path: Path
) -> None:
    with TestClient(create_app(settings.model_copy(update={"auth": "on"}))) as client:
        state: GatewayState = client.app.state.gateway  # type: ignore[attr-defined]
        state.tenants.create("other", "Other", Quotas())
        keys = KeyStore(state.engine)
        ours, theirs = (
            {"Authorization": f"Bearer {keys.create(tenant, 'k', Scope.ADMIN, by=Actor(tenant)).key}"}
            for tenant in ("default", "other")
        )
        job = {"model": grid["models"][0], "task": "none", "prune": {"drop": 2}}
        job_id = client.post("/v1/jobs", json=job, headers=ours).json()["id"]
        succeed(state, claim(state), tmp_path / "scratch")
        told = client.post("/v1/studies", json={**grid, "models": [f"job:{job_id}"]}, headers=theirs)
        assert told.status_code == 422
        assert told.json()["errors"][0]["pointer"] == "/models/0"
        nobodys = client.post("/v1/studies", json={**grid, "models": ["job:job_" + "0" * 24]}, headers=theirs)
        assert told.json()["errors"][0]["code"] == nobodys.json()["errors"][0]["code"], "as one that nobody has"


def test_one_request_at_four_gateways_is_one_study(settings: GatewaySettings, grid: dict[str, Any]) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(TestClient(create_app(settings))) for _ in range(4)]
        pool = stack.enter_context(ThreadPoolExecutor(4))
        for client in clients:
            client.post("/v1/studies", json={})  # FastAPI builds its routes at the first, and not for many threads

        def send(client: TestClient) -> Any:
            for _ in range(50):
                answer = client.post("/v1/studies", json=grid, headers={"Idempotency-Key": "one"})
                if answer.status_code != 409:
                    break
                time.sleep(0.1)
            return answer

        answers = list(pool.map(send, clients))
        assert {answer.status_code for answer in answers} == {202}, [answer.text for answer in answers]
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert len(clients[0].get("/v1/studies").json()["data"]) == 1
        feed_studies(clients[0].app.state.gateway)  # type: ignore[attr-defined]
        assert len(clients[0].get("/v1/jobs").json()["data"]) == 2


#: By where the study stands: the status of each call's answer.
ALLOWED = {
    "running": {"cancel": 200, "resume": 202, "delete": 409},
    "paused": {"cancel": 200, "resume": 202, "delete": 204},
    "cancelled": {"cancel": 200, "resume": 202, "delete": 204},
    "finished": {"cancel": 409, "resume": 409, "delete": 204},
}


def stands(client: TestClient, state: GatewayState, grid: dict[str, Any], folder: Path, where: str) -> dict[str, Any]:
    """A study that stands there."""
    budget = {"jobs": 1} if where == "paused" else {}
    study: dict[str, Any] = client.post("/v1/studies", json={**grid, "budget": budget}).json()
    if where in ("paused", "finished"):
        feed_studies(state)
        while (taken := state.store.claim("worker-1")) is not None:
            succeed(state, taken, folder / taken.lease.job_id)
        feed_studies(state)
    if where == "cancelled":
        client.post(study["urls"]["cancel"])
    assert client.get(study["urls"]["self"]).json()["status"] == where
    return study


@pytest.mark.parametrize(("where", "call"), [(where, call) for where, calls in ALLOWED.items() for call in calls])
def test_what_may_be_done_where_it_stands(  # noqa: PLR0917
    where: str, call: str, client: TestClient, state: GatewayState, grid: dict[str, Any], tmp_path: Path
) -> None:
    address = stands(client, state, grid, tmp_path / "scratch", where)["urls"]["self"]
    method, path = ("DELETE", address) if call == "delete" else ("POST", f"{address}/{call}")
    for _ in range(2):  # asking twice changes nothing
        answer = client.request(method, path, json={} if call == "resume" else None)
        wanted = ALLOWED[where][call]
        assert answer.status_code in (wanted, 404 if wanted == 204 else wanted), answer.text
        if answer.status_code == 409:
            assert answer.json()["code"] in ("study_ended", "study_not_ended")


def test_a_budget_cannot_be_wrong_when_it_is_resumed(client: TestClient, state: GatewayState, grid: Any) -> None:
    study = client.post("/v1/studies", json={**grid, "budget": {"jobs": 1}}).json()
    for wrong in ({"budget": {"jobs": -1}}, {"budget": {"minutes": 1e300}}, {"budget": []}, {"budgets": {}}, []):
        assert client.post(study["urls"]["resume"], json=wrong).status_code in (400, 422)
    state.studies.of(ACTOR).resume(study["id"], ResumeStudy(budget=Budget()))
