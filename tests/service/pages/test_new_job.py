"""`/ui/new`: plans as a job would be, makes it, says what is wrong beside its field, and fills itself in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from service.state import GatewayState
from tests.support.pages import Elements, send, token_of, words_of

HOSTILE = '"><script>alert(1)</script>'


def complaint(page: Response, name: str) -> str:
    found = re.search(rf'id="wrong-{name}"[^>]*>([^<]*)<', page.text)
    assert found, name
    return found[1]


def value_of(page: Response, name: str) -> str | None:
    return next(one.get("value") for one in Elements(page.text).named("input") if one.get("name") == name)


@pytest.fixture
def fields(body: dict[str, Any]) -> dict[str, str]:
    """As a person fills them in for what `body` says."""
    return {"model": body["model"], "task": "none", "strategy": "top", "amount": "drop", "value": "2"}


def test_the_plan_shows_layers_sizes_and_time(client: TestClient, fields: dict[str, str]) -> None:
    said = words_of(send(client, "/ui/new/plan", **fields))
    for words in ("4 of 6 layers stay", "4, 5 go", "Layer 5: dropped", "Layer 0: kept", "1.50 ×", "Takes"):
        assert words in said


def test_without_a_script_a_button_plans(client: TestClient, fields: dict[str, str]) -> None:
    page = send(client, "/ui/new", act="plan", **fields)
    assert page.status_code == 200
    assert "4 of 6 layers stay" in words_of(page)
    assert value_of(page, "model") == fields["model"]
    assert client.get("/v1/jobs").json()["data"] == []


def test_a_job_is_made_and_shown(client: TestClient, fields: dict[str, str]) -> None:
    more = {"priority": "3", "metadata": "team=search\nrun = 7", "rest": '{"limits": {"max_attempts": 1}}', "seed": "5"}
    answer = send(client, "/ui/new", **fields, **more)
    assert answer.status_code == 303
    job = client.get("/v1/jobs").json()["data"][0]
    assert answer.headers["Location"] == f"/ui/jobs/{job['id']}"
    assert job["request"] == {
        "model": fields["model"], "task": "none", "prune": {"strategy": "top", "drop": 2}, "priority": 3, "seed": 5,
        "metadata": {"team": "search", "run": "7"}, "limits": {"max_attempts": 1},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"value": "9"}, "value", "6 layers"),
        ({"value": "many"}, "value", "integer"),
        ({"value": ""}, "value", ""),
        ({"task": "sst9"}, "task", "sst2"),
        ({"task": ""}, "task", ""),
        ({"strategy": "topp"}, "strategy", "top"),
        ({"model": "/nowhere/model"}, "model", ""),
        ({"model": ""}, "model", ""),
        ({"seed": "-1"}, "seed", ""),
        ({"epochs": "no"}, "epochs", ""),
        ({"priority": "101"}, "priority", ""),
        ({"amount": "min_retention", "value": "0.98"}, "value", "auto"),
        ({"rest": "{"}, "rest", "JSON"),
        ({"rest": "[1]"}, "rest", "object"),
        ({"source": "table", "dataset": "/x.csv"}, "text_columns", "needs text_columns"),
        ({"source": "table", "dataset": "/x.csv", "text_columns": "a", "label_column": "b"}, "dataset", ""),
        ({"suffix": "a b"}, "suffix", ""),
    ],
)
def test_what_is_wrong_stands_beside_its_field(
    client: TestClient, fields: dict[str, str], changed: dict[str, str], field: str, words: str
) -> None:
    sent = {**fields, **changed}
    page = send(client, "/ui/new", **sent)
    assert 400 <= page.status_code < 500, page.status_code
    assert complaint(page, field), words_of(page)
    assert words in complaint(page, field)
    marked = [one for one in Elements(page.text).named("input", "select", "textarea") if one.get("aria-invalid")]
    assert field in [one["name"] for one in marked]
    assert all(f"wrong-{one['name']}" in (one["aria-describedby"] or "") for one in marked)
    assert value_of(page, "model") == sent["model"]
    assert client.get("/v1/jobs").json()["data"] == []
    if sent["model"]:
        assert complaint(send(client, "/ui/new/plan", **sent), field)


def test_an_unknown_field_is_told_without_one(client: TestClient, fields: dict[str, str]) -> None:
    page = send(client, "/ui/new", **fields, rest='{"colour": 1}')
    assert page.status_code == 422
    assert "/colour" in words_of(page)


def test_hostile_text_is_text(client: TestClient, fields: dict[str, str]) -> None:
    for path in ("/ui/new", "/ui/new/plan"):
        page = send(client, path, **{**fields, "model": HOSTILE, "metadata": HOSTILE, "strategy": HOSTILE})
        assert "<script>alert" not in page.text
    page = client.get("/ui/new", params={"model": HOSTILE, "task": HOSTILE})
    assert page.status_code == 200
    assert "<script>alert" not in page.text


def test_a_job_is_repeated_with_changes(client: TestClient, body: dict[str, Any]) -> None:
    sent = {**body, "recovery": "none", "limits": {"max_attempts": 2}, "metadata": {"team": "a"}, "priority": 4}
    job_id = client.post("/v1/jobs", json=sent).json()["id"]
    page = client.get("/ui/new", params={"from": job_id})
    assert job_id in words_of(page)
    assert "4 of 6 layers stay" in words_of(page)
    assert value_of(page, "value") == "2"
    assert "max_attempts" in page.text
    assert client.get("/ui/new?from=job_000000000000000000000000").status_code == 404


@pytest.mark.parametrize("as_file", [True, False])
def test_a_job_file_fills_the_form_in(client: TestClient, body: dict[str, Any], as_file: bool) -> None:
    token = token_of(client.get("/ui/new"))
    text = json.dumps(body)
    parts: dict[str, Any] = {"csrf": (None, token), "file": ("job.json", text if as_file else "")}
    page = client.post("/ui/new/file", files=parts if as_file else {**parts, "text": (None, text)})
    assert page.status_code == 200
    assert value_of(page, "model") == body["model"]
    assert "4 of 6 layers stay" in words_of(page)


def test_a_file_that_is_none_is_refused_beside_its_field(client: TestClient) -> None:
    token = token_of(client.get("/ui/new"))
    page = client.post("/ui/new/file", files={"csrf": (None, token), "file": ("job.json", "no")})
    assert page.status_code == 400
    assert "not JSON" in complaint(page, "file")
    assert client.post("/ui/new/file", files={"file": ("job.json", "{}")}).status_code == 403


def test_what_one_has_is_proposed(
    client: TestClient, finished: str, make_model: Callable[..., Path], state: GatewayState
) -> None:
    page = client.get("/ui/new")
    assert f'value="job:{finished}"' in page.text
