"""`/ui/uploads`: files are sent by forms that are ours, looked into, used and deleted; and two jobs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from api_schemas.tenants import Scope
from service.app import create_app
from service.settings import GatewaySettings
from service.state import GatewayState
from tests.support.access import bearer, key_of
from tests.support.gateway_worker import claim, succeed
from tests.support.pages import Elements, log_in, send, token_of, words_of
from tests.support.uploading import CSV, DATASETS, MODEL, form


def upload(client: TestClient, kind: str, files: dict[str, bytes], token: str | None = None, **more: str) -> Any:
    token = token_of(client.get("/ui/uploads")) if token is None else token
    return client.post(
        f"/ui/uploads/{kind}", params={"csrf": token}, files=form(files), data=more, follow_redirects=False
    )


def test_a_table_is_sent_looked_into_used_and_deleted(client: TestClient) -> None:
    answer = upload(client, "dataset", {"reviews.csv": CSV}, name="<i>reviews</i>")
    assert answer.status_code == 303
    page = client.get(answer.headers["Location"])
    assert "<i>reviews" not in page.text
    said = words_of(page)
    for words in ("4 rows", "label", "good film", "1 line that is no row"):
        assert words in said
    use = next(one for one in Elements(page.text).addresses if one.startswith("/ui/new?"))
    filled = client.get(use).text
    assert 'value="text"' in filled
    assert 'value="label"' in filled
    assert "<i>reviews" not in client.get("/ui/uploads").text
    assert send(client, f"{answer.headers['Location']}/delete").status_code == 303
    assert "None yet" in words_of(client.get("/ui/uploads"))


def test_a_model_is_its_files(client: TestClient) -> None:
    answer = upload(client, "model", MODEL)
    said = words_of(client.get(answer.headers["Location"]))
    assert "bert, 2 layers" in said
    assert "Use in a job" in said


def test_what_is_refused_is_said_on_the_page(client: TestClient) -> None:
    for kind, files in (("dataset", {"x.exe": b"MZ"}), ("dataset", {"a.csv": b""}), ("model", {"config.json": b"{}"})):
        page = upload(client, kind, files)
        assert 400 <= page.status_code < 500
        assert [one for one in Elements(page.text).named("input") if one.get("aria-invalid") == "true"]
    assert upload(client, "picture", {"a.csv": CSV}).status_code == 404
    assert client.get("/v1/datasets").json()["data"] == []


def test_without_the_token_nothing_is_read(client: TestClient) -> None:
    assert upload(client, "dataset", {"a.csv": CSV}, token="wrong").status_code == 403
    assert client.post("/ui/uploads/dataset", files=form({"a.csv": CSV})).status_code == 403
    assert client.get("/v1/datasets").json()["data"] == []


def test_others_see_no_upload(settings: GatewaySettings) -> None:
    with TestClient(create_app(settings.model_copy(update={"auth": "on"}))) as client:
        state: GatewayState = client.app.state.gateway  # type: ignore[attr-defined]
        own = bearer(key_of(state, "team-a", Scope.SUBMIT))
        found = client.post(DATASETS, files=form({"a.csv": CSV}), headers=own).json()["id"]
        log_in(client, key_of(state, "team-b", Scope.SUBMIT))
        assert found not in client.get("/ui/uploads").text + client.get("/ui/new").text
        assert client.get(f"/ui/uploads/dataset/{found}").status_code == 404
        log_in(client, key_of(state, "team-a", Scope.READ))
        assert found in client.get("/ui/uploads").text
        token = token_of(client.get("/ui/uploads"))
        assert upload(client, "dataset", {"a.csv": CSV}, token=token).status_code == 403


def test_two_jobs_side_by_side(
    client: TestClient, state: GatewayState, body: dict[str, Any], finished: str, tmp_path: Path
) -> None:
    sent = {**body, "prune": {"strategy": "bottom", "drop": 2}, "metadata": {"team": "<b>x"}}
    other = client.post("/v1/jobs", json=sent).json()["id"]
    succeed(state, claim(state), tmp_path / "other")
    page = client.get("/ui/compare", params={"a": finished, "b": other})
    said = words_of(page)
    for words in ("prune.strategy", "bottom", "metadata.team", "4 of 6 layers stay", "alike"):
        assert words in said
    assert "<b>x" not in page.text
    assert "side by side" in said or "What came of it" in said
    assert client.get("/ui/compare", params={"job": [finished, other]}).status_code == 200
    assert "Both are the same" in words_of(client.get("/ui/compare", params={"a": other, "b": other}))
    missing = client.get("/ui/compare", params={"a": finished, "b": "job_<script>"})
    assert missing.status_code == 404
    assert "job_<script>" not in missing.text
