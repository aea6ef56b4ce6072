"""Requests that name earlier jobs, over HTTP: what is found, what is pinned, and every way in which it is no good."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from api_schemas.events import EventType
from api_schemas.reports import LayerMap
from api_schemas.requests import ModelRef
from api_schemas.tenants import Scope
from service.earlier_jobs import is_same
from service.state import GatewayState
from sources.models import inspect
from store.columns import later
from store.manifests import MANIFEST
from store.tables import jobs
from tests.support.access import bearer, key_of
from tests.support.events import say
from tests.support.gateway_worker import RESULT, claim
from tests.support.reports import report

KEPT = [0, 1, 3, 5]
FAILED = say(EventType.FAILED, "missed", error={"code": "objective_not_met", "message": "missed", "stage": "verifying"})

Earlier = Callable[..., str]


@pytest.fixture
def source(make_model: Callable[..., Path]) -> str:
    return str(make_model("source"))


@pytest.fixture
def earlier(
    client: TestClient, state: GatewayState, make_model: Callable[..., Path], source: str, tmp_path: Path
) -> Earlier:
    """Has a job prune ``source`` to the layers KEPT, as a worker would; its id."""

    def make(*, ends: str = "succeeded", has_model: bool = True, **body: Any) -> str:
        posted = client.post("/v1/jobs", json={"model": source, "task": "none", **body})
        assert posted.status_code == 202, posted.text
        taken, folder = claim(state), tmp_path / "export"
        shutil.rmtree(folder, ignore_errors=True)
        if has_model:
            shutil.copytree(make_model(f"left-{taken.lease.job_id}", layers=len(KEPT)), folder)
        folder.mkdir(exist_ok=True)
        facts = inspect(ModelRef(id=source), state.settings)
        assert facts is not None
        layers = LayerMap(total=6, kept=KEPT, dropped=[2, 4])
        made = report(layers=layers, model=facts, source_sha256=None)
        (folder / "report.json").write_text(made.model_dump_json(), encoding="utf-8")
        prefix = taken.lease.prefix
        if ends != "failed":
            state.artifacts.publish(prefix, folder, "layercut")
        done = say(EventType.SUCCEEDED, "done", result=RESULT, usage={"wall_seconds": 1.0})
        end = done if ends == "succeeded" else FAILED
        state.store.finish(taken.lease, end, artifact=None if ends == "failed" else prefix)
        return taken.lease.job_id

    return make


def post(client: TestClient, **body: Any) -> Any:
    return client.post("/v1/jobs", json={"task": "none", "prune": {"drop": 1}, **body})


def from_(job_id: str) -> dict[str, str]:
    return {"from": f"job:{job_id}"}


def refusal(answer: Any) -> tuple[int, str, str]:
    body = answer.json()
    return answer.status_code, body["code"], body["errors"][0]["pointer"]


def test_a_job_goes_on_from_an_earlier_one(
    client: TestClient, state: GatewayState, earlier: Earlier, source: str
) -> None:
    first = earlier()
    answer = post(client, model=source, recovery=from_(first))
    assert answer.status_code == 202, answer.text
    resolved = answer.json()["resolved"]
    assert (resolved["plan"]["kept"], resolved["plan"]["dropped"]) == ([0, 1, 3], [2, 4, 5])
    assert (resolved["plan"]["layers_total"], resolved["plan"]["model"]["layers"]) == (6, 6)
    assert resolved["start"]["job"] == first
    assert resolved["start"]["kept"] == KEPT
    assert resolved["start"]["model"]["layers"] == 4
    assert answer.json()["request"]["recovery"] == from_(first), "as it was sent"
    place = state.store.delivered(first)
    preview = client.post("/v1/jobs?validate_only=true", json=answer.json()["request"])
    for shown in (answer, preview, client.get(answer.json()["urls"]["self"])):
        assert place.rpartition("/")[2] not in shown.text, "an attempt's token is in it"
        assert "artifact" not in shown.json()["resolved"]["start"]
    taken = claim(state)
    assert taken.request.recovery.from_ == f"job:{first}"
    assert taken.resolved.start is not None
    assert taken.resolved.start.artifact == state.store.delivered(first)


def test_a_job_works_on_what_another_delivered(client: TestClient, state: GatewayState, earlier: Earlier) -> None:
    first = earlier()
    answer = post(client, model=f"job:{first}")
    assert answer.status_code == 202, answer.text
    assert answer.json()["model"] == f"job:{first}"
    resolved = answer.json()["resolved"]
    assert (resolved["plan"]["kept"], resolved["plan"]["layers_total"]) == ([0, 1, 2], 4)
    assert (resolved["delivered"]["job"], resolved["start"]) == (first, None)
    assert post(client, model={"id": f"job:{first}", "revision": "main"}).json()["errors"][0]["pointer"] == "/model"


def test_plans_and_previews_know_earlier_jobs_too(client: TestClient, earlier: Earlier, source: str) -> None:
    first = earlier()

    def plan(**body: Any) -> Any:
        answer = client.post("/v1/plans", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert plan(model=source, prune={"drop": 2}, recovery=from_(first))["kept"] == [0, 1]
    assert plan(model=source, prune="none", recovery=from_(first))["kept"] == KEPT
    assert plan(model=f"job:{first}", prune="bottom")["kept"] == [1, 2, 3]
    nothing = plan(model=source, prune="none")
    assert (nothing["dropped"], nothing["parameters_after"]) == ([], nothing["parameters_before"])
    ranked = plan(model=source, prune={"strategy": "parameter_variance", "drop": 1}, recovery=from_(first))
    assert (ranked["kept"], ranked["protected"]) == (None, [0])
    preview = client.post(
        "/v1/jobs?validate_only=true",
        json={"model": source, "task": "none", "prune": {"drop": 1}, "recovery": from_(first)},
    )
    assert preview.json()["resolved"]["plan"]["kept"] == [0, 1, 3]
    assert client.get("/v1/jobs", params={"status": "queued"}).json()["data"] == []


def test_what_is_no_job_to_go_on_from_is_refused(
    client: TestClient, state: GatewayState, earlier: Earlier, source: str
) -> None:
    def both(job_id: str) -> set[tuple[int, str]]:
        """Of the two fields that may name it."""
        named = {"/recovery/from": {"model": source, "recovery": from_(job_id)}, "/model": {"model": f"job:{job_id}"}}
        found = {pointer: refusal(post(client, **body)) for pointer, body in named.items()}
        assert all(pointer == said[2] for pointer, said in found.items())
        return {said[:2] for said in found.values()}

    assert both("job_000000000000000000000000") == {(404, "job_not_found")}
    queued = post(client, model=source).json()["id"]
    assert both(queued) == {(409, "result_not_ready")}
    client.post(f"/v1/jobs/{queued}/cancel")
    assert both(queued) == {(409, "result_not_ready")}
    assert both(earlier(ends="failed")) == {(409, "result_not_ready")}
    assert both(earlier(has_model=False, prune="none")) == {(422, "validation_failed")}

    kept = earlier()
    with state.engine.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.id == kept).values(expires_at=later(-1)))
    assert state.retention.expire() == [kept]
    assert both(kept) == {(410, "expired")}
    assert "were kept until" in post(client, model=f"job:{kept}").json()["detail"]
    deleted = earlier()
    assert client.delete(f"/v1/jobs/{deleted}").status_code == 204
    assert both(deleted) == {(410, "expired")}
    assert f"{deleted} was deleted" in post(client, model=f"job:{deleted}").json()["detail"]


def test_one_that_missed_its_objective_is_gone_on_from(client: TestClient, earlier: Earlier, source: str) -> None:
    assert post(client, model=source, recovery=from_(earlier(ends="missed"))).status_code == 202


def test_a_job_of_another_model_is_refused(
    client: TestClient, earlier: Earlier, make_model: Callable[..., Path], source: str
) -> None:
    first = earlier()
    for other in (make_model("deeper", layers=8), make_model("elsewhere")):
        answer = post(client, model=str(other), recovery=from_(first))
        assert refusal(answer) == (422, "validation_failed", "/recovery/from")
        assert f"{first} pruned another model" in answer.json()["detail"]
    answer = post(client, model=f"job:{earlier()}", recovery=from_(first))
    assert refusal(answer) == (422, "validation_failed", "/recovery/from")


def test_the_same_commit_is_the_same_model_under_whatever_name() -> None:
    commit = "c" * 40
    theirs = report().model.model_copy(update={"id": "bert-base-uncased", "revision": commit})
    told = report(model=theirs)
    alias = ModelRef(id="google-bert/bert-base-uncased")
    model = theirs.model_copy(update={"id": alias.id})
    assert is_same(alias, model, told)
    assert not is_same(alias, model.model_copy(update={"revision": "d" * 40}), told)
    assert not is_same(ModelRef(id=theirs.id), theirs.model_copy(update={"revision": "d" * 40}), told)


def test_a_job_of_another_kind_is_refused(client: TestClient, earlier: Earlier, source: str, settings: Any) -> None:
    table = settings.data_roots[0] / "rows.csv"
    table.write_text("text,label\n" + "a,x\nb,y\n" * 8, encoding="utf-8")
    task = {"dataset": str(table), "text_columns": ["text"], "label_column": "label"}
    first = earlier()
    answer = post(client, model=source, task=task, recovery=from_(first))
    assert refusal(answer) == (422, "validation_failed", "/recovery/from")
    assert "for task none, and this is for task classification" in answer.json()["detail"]
    second = earlier(task=task)
    assert post(client, model=source, task=task, recovery=from_(second)).status_code == 202
    assert refusal(post(client, model=source, recovery=from_(second)))[2] == "/recovery/from"


def test_another_tenants_job_is_not_there(
    state: GatewayState, client: TestClient, earlier: Earlier, source: str
) -> None:
    first = earlier()
    stranger = bearer(key_of(state, "strangers", Scope.SUBMIT))
    for body in ({"model": f"job:{first}"}, {"model": source, "recovery": from_(first)}):
        asked = {"task": "none", "prune": {"drop": 1}, **body}
        answers = [client.post(path, json=asked, headers=stranger) for path in ("/v1/jobs", "/v1/plans")]
        assert [answer.json()["code"] for answer in answers] == ["job_not_found"] * 2
        nobody = client.post("/v1/jobs", json=_renamed(asked, first), headers=stranger).json()
        assert answers[0].json()["detail"] == nobody["detail"].replace(NOBODY, first)


NOBODY = "job_000000000000000000000000"


def _renamed(body: Any, job_id: str) -> Any:
    if isinstance(body, dict):
        return {name: _renamed(value, job_id) for name, value in body.items()}
    return body.replace(job_id, NOBODY) if isinstance(body, str) else body


def test_a_job_that_another_works_on_is_not_deleted(client: TestClient, earlier: Earlier, source: str) -> None:
    first = earlier()
    user = post(client, model=source, recovery=from_(first)).json()["id"]
    answer = client.delete(f"/v1/jobs/{first}")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_in_use")
    assert user in answer.json()["detail"]
    client.post(f"/v1/jobs/{user}/cancel")
    assert client.delete(f"/v1/jobs/{first}").status_code == 204
    again = client.post(f"/v1/jobs/{user}/retry")
    assert (again.status_code, again.json()["code"]) == (409, "job_not_retryable")


@pytest.mark.parametrize(
    ("name", "text", "refused"),
    [
        (MANIFEST, None, (410, "expired")),
        ("config.json", None, (410, "expired")),
        (MANIFEST, "{}", (422, "model_invalid")),
        (MANIFEST, "no JSON", (422, "model_invalid")),
    ],
)
def test_files_that_are_gone_or_broken_are_told_without_their_place(
    client: TestClient,
    state: GatewayState,
    earlier: Earlier,
    source: str,
    *,
    name: str,
    text: str | None,
    refused: tuple[int, str],
) -> None:
    first = earlier()
    prefix = state.store.delivered(first)
    path = state.settings.data_dir / "artifacts" / prefix / name
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    for pointer, body in (
        ("/model", {"model": f"job:{first}"}),
        ("/recovery/from", {"model": source, "recovery": from_(first)}),
    ):
        answer = post(client, **body)
        assert refusal(answer) == (*refused, pointer)
        assert prefix.rpartition("/")[2] not in answer.text


def test_a_report_of_another_version_is_no_ground_to_go_on(
    client: TestClient, state: GatewayState, earlier: Earlier, source: str
) -> None:
    first = earlier()
    path = state.settings.data_dir / "artifacts" / state.store.delivered(first) / "report.json"
    path.write_bytes(b"{" + b" " * (path.stat().st_size - 2) + b"}")
    answer = post(client, model=source, recovery=from_(first))
    assert refusal(answer) == (422, "validation_failed", "/recovery/from")
    assert post(client, model=f"job:{first}").status_code == 202, "the model itself is whole"
