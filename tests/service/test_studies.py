"""Studies over HTTP: asked for, refused, shown, cancelled, gone on with, deleted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
from tests.support.store_samples import CANCELLED
from tests.support.study_samples import ACTOR

FIXED = ("top", "bottom", "symmetric")


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    """The tests feed the queue."""
    return settings.model_copy(update={"study_seconds": 3600.0})


@pytest.fixture
def grid(make_model: Callable[..., Path]) -> dict[str, Any]:
    """Six cells that train nothing, of a model of six layers."""
    return {"models": [str(make_model())], "tasks": ["none"], "strategies": list(FIXED), "drops": [2, 4]}


@pytest.fixture
def ask(client: TestClient, grid: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    def post(**more: Any) -> dict[str, Any]:
        answer = client.post("/v1/studies", json={**grid, **more})
        assert answer.status_code == 202, answer.text
        made: dict[str, Any] = answer.json()
        return made

    return post


@pytest.fixture
def read(client: TestClient) -> Callable[[str], dict[str, Any]]:
    def get(study_id: str) -> dict[str, Any]:
        answer = client.get(f"/v1/studies/{study_id}")
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    return get


def end_all(state: GatewayState, folder: Path) -> None:
    """What workers and the gateway do until nothing waits."""
    number = 0
    while True:
        feed_studies(state)
        taken = state.store.claim("worker-1")
        if taken is None:
            return
        number += 1
        succeed(state, taken, folder / f"{taken.lease.job_id}")


def refusal(client: TestClient, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/v1/studies", json=body)
    assert answer.status_code == 422, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_a_study_becomes_jobs(client: TestClient, grid: dict[str, Any], read: Callable[[str], dict[str, Any]]) -> None:
    answer = client.post("/v1/studies", json=grid)
    study = answer.json()
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == study["urls"]["self"] == f"/v1/studies/{study['id']}"
    assert study["progress"]["cells"] == 6
    shown = read(study["id"])
    assert shown["status"] == "running"
    assert shown["request"] == grid
    assert shown["progress"]["by_state"] == {"queued": 6}
    jobs = client.get("/v1/jobs", params={"study": study["id"]}).json()["data"]
    assert {job["study"] for job in jobs} == {study["id"]}
    asked = {(job["request"]["prune"]["strategy"], job["request"]["prune"]["drop"]) for job in jobs}
    assert asked == {(row["strategy"], row["drop"]) for row in shown["table"]}
    assert asked == {(strategy, drop) for strategy in FIXED for drop in (2, 4)}


def test_it_is_finished_with_its_last_job(
    client: TestClient, state: GatewayState, ask: Any, read: Any, tmp_path: Path
) -> None:
    study = ask(name="where to cut")["id"]
    end_all(state, tmp_path / "scratch")
    feed_studies(state)
    shown = read(study)
    assert (shown["name"], shown["status"]) == ("where to cut", "finished")
    assert shown["finished_at"] is not None
    assert shown["progress"]["by_state"] == {"succeeded": 6}
    assert shown["progress"]["fraction"] == 1.0
    assert {row["score_after"]["mean"] for row in shown["table"]} == {90.0}
    listed = client.get("/v1/studies").json()
    assert [head["id"] for head in listed["data"]] == [study]
    assert "table" not in listed["data"][0]


def test_the_table_as_csv_and_markdown(client: TestClient, ask: Any) -> None:
    study = ask()
    csv = client.get(study["urls"]["table_csv"])
    assert csv.headers["content-type"].startswith("text/csv")
    assert csv.headers["content-disposition"] == f'attachment; filename="{study["id"]}.csv"'
    assert len(csv.text.splitlines()) == 1 + 6
    assert client.get(study["urls"]["self"], headers={"Accept": "text/csv"}).text == csv.text
    markdown = client.get(study["urls"]["self"], headers={"Accept": "text/markdown"})
    assert markdown.headers["content-type"].startswith("text/markdown")
    assert "| bottom |" in markdown.text
    assert client.get(study["urls"]["self"], headers={"Accept": "image/png"}).status_code == 406


def test_which_job_to_download(client: TestClient, state: GatewayState, ask: Any, tmp_path: Path) -> None:
    study = ask()
    (none,) = client.get(study["urls"]["pick"]).json()["data"]
    assert (none["job_id"], none["download"]) == (None, None)
    end_all(state, tmp_path / "scratch")
    (found,) = client.get(study["urls"]["pick"], params={"min_retention": 0.99}).json()["data"]
    assert found["download"] == f"/v1/jobs/{found['job_id']}/download"


def test_the_most_cells_are_the_service_s(client: TestClient, state: GatewayState, grid: dict[str, Any]) -> None:
    most = state.settings.max_study_cells
    told = refusal(client, {**grid, "seeds": list(range(200)), "drops": [0.1 + at / 100 for at in range(10)]})
    assert told["code"] == "study_too_large"
    assert (told["cells"], told["most"]) == (6000, most)
    assert told["errors"][0]["pointer"] == "/seeds"


def test_cells_that_cannot_be_are_refused_with_the_values_to_blame(client: TestClient, grid: dict[str, Any]) -> None:
    told = refusal(client, {**grid, "drops": [2, 6, 8], "strategies": ["top", "bottom"]})
    assert told["code"] == "cells_impossible"
    assert [error["pointer"] for error in told["errors"]] == ["/drops/1", "/drops/2"]
    assert "cells 1, 4" in told["errors"][0]["message"]
    assert client.get("/v1/studies").json()["data"] == []


def test_cells_that_cannot_be_are_skipped_on_request(ask: Any, read: Any) -> None:
    shown = read(ask(drops=[2, 8], strategies=["top"], impossible="skip")["id"])
    assert shown["progress"]["by_state"] == {"queued": 1, "impossible": 1}
    (cell,) = shown["table"][1]["cells"]
    assert (cell["state"], cell["job_id"]) == ("impossible", None)
    assert "6" in cell["reason"]


def test_a_study_without_a_cell_that_can_be_is_refused_anyhow(client: TestClient, grid: dict[str, Any]) -> None:
    told = refusal(client, {**grid, "drops": [8], "impossible": "skip"})
    assert told["code"] == "cells_impossible"
    assert "none of its cells can be" in told["detail"]


def test_a_model_that_is_not_there_is_blamed_by_its_place(client: TestClient, grid: dict[str, Any]) -> None:
    told = refusal(client, {**grid, "models": [*grid["models"], f"{grid['models'][0]}-not"]})
    assert [error["pointer"] for error in told["errors"]] == ["/models/1"]


def test_unknown_fields_are_refused(client: TestClient, grid: dict[str, Any]) -> None:
    told = refusal(client, {**grid, "drop": [1]})
    assert told["errors"][0]["pointer"] == "/drop"


def test_a_preview_stores_nothing(client: TestClient, ask: Any, grid: dict[str, Any]) -> None:
    answer = client.post("/v1/studies?validate_only=true", json={**grid, "drops": [2, 8]})
    assert answer.status_code == 200, answer.text
    preview = answer.json()
    assert (preview["cells"], preview["known"], preview["impossible_count"], preview["baselines"]) == (6, 0, 3, 0)
    assert preview["impossible"][0]["cell"].endswith("top 8 × seed 42")
    assert preview["minutes"] >= 0
    assert client.get("/v1/studies").json()["data"] == []


def test_a_key_makes_one_study_of_two_posts(client: TestClient, grid: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "one"}
    first = client.post("/v1/studies", json=grid, headers=headers)
    again = client.post("/v1/studies", json=grid, headers=headers)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == first.json()
    assert len(client.get("/v1/studies").json()["data"]) == 1
    other = client.post("/v1/studies", json={**grid, "drops": [1]}, headers=headers)
    assert other.json()["code"] == "idempotency_key_reused"


def test_what_was_done_is_not_done_again(
    state: GatewayState, ask: Any, read: Any, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    first = ask()["id"]
    end_all(state, tmp_path / "scratch")
    second = ask(drops=[1, 2], name="again", job={"metadata": {"team": "search"}, "limits": {"max_attempts": 1}})
    shown = read(second["id"])
    assert shown["progress"]["by_state"] == {"succeeded": 3, "queued": 3}
    assert (shown["progress"]["known"], shown["progress"]["jobs"]) == (3, 3)
    done = {cell["job_id"] for row in shown["table"] for cell in row["cells"] if cell["known"]}
    assert done < {cell["job_id"] for row in read(first)["table"] for cell in row["cells"]}
    # The same model elsewhere is the same; another's content is another.
    copy = str(make_model("copy"))
    assert read(ask(models=[copy], drops=[2])["id"])["progress"]["known"] == 3
    wider = str(make_model("wider", layers=8))
    assert read(ask(models=[wider], drops=[2])["id"])["progress"]["known"] == 0
    # So is one that is measured otherwise, or delivered otherwise.
    assert read(ask(drops=[2], job={"export": {"dtype": "float16"}})["id"])["progress"]["known"] == 0


def test_what_was_deleted_is_not_known(state: GatewayState, ask: Any, read: Any, tmp_path: Path) -> None:
    first = ask(drops=[2], strategies=["top"])["id"]
    end_all(state, tmp_path / "scratch")
    job_id = read(first)["table"][0]["cells"][0]["job_id"]
    state.store.delete(job_id)
    assert read(ask(drops=[2], strategies=["top"])["id"])["progress"]["known"] == 0
    (cell,) = read(first)["table"][0]["cells"]
    assert (cell["state"], cell["job_id"]) == ("cancelled", None)
    assert "deleted" in cell["reason"]


def test_a_budget_pauses_a_study_until_it_is_resumed(
    client: TestClient, state: GatewayState, ask: Any, read: Any, tmp_path: Path
) -> None:
    study = ask(budget={"jobs": 2})
    end_all(state, tmp_path / "scratch")
    shown = read(study["id"])
    assert (shown["status"], shown["status_reason"]) == ("paused", "the budget of 2 jobs is used up")
    assert shown["progress"]["by_state"] == {"succeeded": 2, "unpaid": 4}
    answer = client.post(study["urls"]["resume"], json={"budget": {"jobs": 3}})
    assert answer.status_code == 202, answer.text
    assert answer.json()["budget"]["jobs"] == 3
    end_all(state, tmp_path / "scratch")
    assert read(study["id"])["progress"]["by_state"] == {"succeeded": 5, "unpaid": 1}
    client.post(study["urls"]["resume"], json={"budget": {}})
    end_all(state, tmp_path / "scratch")
    assert read(study["id"])["status"] == "finished"
    assert client.post(study["urls"]["resume"], json={}).json()["code"] == "study_ended"


def test_cancel_and_resume(client: TestClient, state: GatewayState, ask: Any, read: Any, tmp_path: Path) -> None:
    study = ask()
    running = claim(state)
    answer = client.post(study["urls"]["cancel"])
    assert answer.status_code == 200
    assert answer.json()["progress"]["by_state"] == {"running": 1, "cancelled": 5}
    assert client.post(study["urls"]["cancel"]).json()["status"] == "cancelled"
    assert client.get(f"/v1/jobs/{running.lease.job_id}").json()["status"] == "cancelling"
    assert client.delete(study["urls"]["self"]).json()["code"] == "study_not_ended"
    state.store.finish(running.lease, CANCELLED)
    assert client.post(study["urls"]["resume"], json={}).status_code == 202
    end_all(state, tmp_path / "scratch")
    assert read(study["id"])["progress"]["by_state"] == {"succeeded": 6}
    assert len(client.get("/v1/jobs").json()["data"]) == 6


def test_cells_are_added(client: TestClient, state: GatewayState, ask: Any, read: Any, tmp_path: Path) -> None:
    study = ask(drops=[2])
    end_all(state, tmp_path / "scratch")
    feed_studies(state)
    more = {"models": study["request"]["models"], "tasks": ["none"], "strategies": ["top"], "drops": [2, 3]}
    answer = client.post(study["urls"]["cells"], json=more)
    assert answer.status_code == 202, answer.text
    shown = read(study["id"])
    assert shown["status"] == "running"
    assert shown["progress"]["by_state"] == {"queued": 1, "succeeded": 3}
    assert [(row["strategy"], row["drop"]) for row in shown["table"]][-1] == ("top", 3)
    assert {row["model"] for row in shown["table"]} == {study["request"]["models"][0]}
    refused = client.post(study["urls"]["cells"], json={**more, "drops": [9]})
    assert refused.json()["code"] == "cells_impossible"


def test_deleting_leaves_jobs_unless_told_otherwise(client: TestClient, ask: Any) -> None:
    study = ask()
    client.post(study["urls"]["cancel"])
    assert client.delete(study["urls"]["self"]).status_code == 204
    assert client.get(study["urls"]["self"]).json()["code"] == "study_not_found"
    assert len(client.get("/v1/jobs").json()["data"]) == 6
    other = ask(drops=[1])
    client.post(other["urls"]["cancel"])
    assert client.delete(other["urls"]["self"], params={"jobs": True}).status_code == 204
    assert len(client.get("/v1/jobs").json()["data"]) == 6


def test_a_window_leaves_room_for_others(state: GatewayState, ask: Any, read: Any, tmp_path: Path) -> None:
    narrow = replace(state, settings=state.settings.model_copy(update={"study_window": 2}))
    study = ask(budget={"jobs": 1})["id"]  # POST queued one
    state.studies.of(ACTOR).resume(study, ResumeStudy(budget=Budget()))
    feed_studies(narrow)
    assert read(study)["progress"]["by_state"] == {"queued": 2, "waiting": 4}
    feed_studies(narrow)
    assert read(study)["progress"]["by_state"] == {"queued": 2, "waiting": 4}
    succeed(state, claim(state), tmp_path / "scratch")
    feed_studies(narrow)
    assert read(study)["progress"]["by_state"] == {"queued": 2, "waiting": 3, "succeeded": 1}


def test_a_model_that_is_gone_when_its_turn_comes(
    state: GatewayState, ask: Any, read: Any, grid: dict[str, Any]
) -> None:
    study = ask(budget={"jobs": 1})["id"]
    (Path(grid["models"][0]) / "config.json").unlink()
    state.studies.of(ACTOR).resume(study, ResumeStudy(budget=Budget()))
    feed_studies(state)
    shown = read(study)
    assert shown["progress"]["by_state"] == {"queued": 1, "impossible": 5}
    assert all(cell["reason"] for row in shown["table"] for cell in row["cells"] if cell["state"] == "impossible")


def test_another_tenant_sees_nothing(settings: GatewaySettings, grid: dict[str, Any]) -> None:
    locked = settings.model_copy(update={"auth": "on"})
    with TestClient(create_app(locked)) as client:
        state: GatewayState = client.app.state.gateway  # type: ignore[attr-defined]
        state.tenants.create("other", "Other", Quotas())
        keys = KeyStore(state.engine)
        ours, theirs = (
            {"Authorization": f"Bearer {keys.create(tenant, 'k', Scope.ADMIN, by=Actor(tenant)).key}"}
            for tenant in ("default", "other")
        )
        study = client.post("/v1/studies", json=grid, headers=ours).json()
        assert client.get("/v1/studies", headers=theirs).json()["data"] == []
        assert client.get(study["urls"]["self"], headers=ours).status_code == 200
        for path in ("", "/table.csv", "/table.md", "/pick"):
            answer = client.get(study["urls"]["self"] + path, headers=theirs)
            assert answer.json()["code"] == "study_not_found", path
        for call in ("/cancel", "/resume"):
            answer = client.post(study["urls"]["self"] + call, json={}, headers=theirs)
            assert answer.json()["code"] == "study_not_found", call
        assert client.delete(study["urls"]["self"], headers=theirs).json()["code"] == "study_not_found"
        added = client.post(study["urls"]["cells"], json=grid, headers=theirs)
        assert added.json()["code"] == "study_not_found"
        # What one tenant has done, another has not.
        audit = state.audit.page("default")[0]
        assert "study.create" in {line.action for line in audit}


def test_what_is_kept_of_an_ended_study_is_never_old(
    client: TestClient, state: GatewayState, ask: Any, read: Any, tmp_path: Path
) -> None:
    study = ask(drops=[2])
    end_all(state, tmp_path / "scratch")
    feed_studies(state)
    first = [read(study["id"]) for _ in range(2)]
    assert first[0] == first[1]
    csv = client.get(study["urls"]["table_csv"]).text
    deleted = first[0]["table"][1]["cells"][0]["job_id"]
    state.store.delete(deleted)
    assert read(study["id"])["table"][1]["cells"][0]["job_id"] is None
    assert client.get(study["urls"]["table_csv"]).text != csv
    more = {"models": study["request"]["models"], "tasks": ["none"], "strategies": ["top"], "drops": [3]}
    assert client.post(study["urls"]["cells"], json=more).status_code == 202
    assert read(study["id"])["progress"]["cells"] == 4
    end_all(state, tmp_path / "scratch")
    feed_studies(state)
    assert read(study["id"])["progress"]["by_state"] == {"succeeded": 3, "cancelled": 1}


def test_a_cell_is_the_same_however_it_is_written(client: TestClient, ask: Any, read: Any) -> None:
    study = ask(drops=[2], strategies=["top"], recoveries=[{"method": "none"}])
    model = {"id": study["request"]["models"][0], "revision": None}
    said = {"models": [model], "tasks": ["none"], "strategies": ["top"], "drops": [2], "seeds": [42]}
    more = {**said, "recoveries": [{"method": "none", "epochs": "auto", "text": None}]}
    assert client.post(study["urls"]["cells"], json=more).status_code == 202
    assert read(study["id"])["progress"]["cells"] == 1


def test_efforts_twice_and_pushes_are_refused_where_they_stand(client: TestClient, grid: dict[str, Any]) -> None:
    own = {"recoveries": [{"method": "distill"}, {"method": "distill", "effort": "quick"}], "efforts": ["quick"]}
    assert refusal(client, {**grid, **own})["errors"][0]["pointer"] == "/recoveries/1/effort"
    pushed = {"job": {"export": {"push_to": {"repo": "a/small"}}}}
    assert refusal(client, {**grid, **pushed})["errors"][0]["pointer"] == "/job/export/push_to"


def test_a_model_that_has_changed_since_is_told(state: GatewayState, ask: Any, read: Any, grid: dict[str, Any]) -> None:
    study = ask(budget={"jobs": 1})["id"]
    weights = next(Path(grid["models"][0]).glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    state.studies.of(ACTOR).resume(study, ResumeStudy(budget=Budget()))
    feed_studies(state)
    shown = read(study)
    assert shown["progress"]["by_state"] == {"queued": 1, "impossible": 5}
    reasons = {cell["reason"] for row in shown["table"] for cell in row["cells"] if cell["state"] == "impossible"}
    assert all("changed since the study was asked for" in reason for reason in reasons)
