"""`export.push_to` as it is asked for: what is refused at once, in words, and what is taken."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.settings import GatewaySettings
from tests.support.hub_server import says
from tests.support.hub_writes import PushableHub, user

REPO = "team/small-bert"


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    return settings.model_copy(update={"push_owners": ["team", "somebody"]})


@pytest.fixture
def hub(push_hub: PushableHub, _no_hub: None) -> PushableHub:
    push_hub.users["hf_right"] = user("somebody", orgs={"team": "write"})
    return push_hub


def post(client: TestClient, body: dict[str, Any], **push_to: Any) -> Any:
    return client.post("/v1/jobs", json={**body, "export": {"push_to": {"repo": REPO, **push_to}}})


def wrong(answer: Any) -> tuple[int, str, str]:
    problem = answer.json()
    return answer.status_code, problem["errors"][0]["code"], problem["errors"][0]["pointer"]


def test_a_push_that_may_be_is_taken_and_shown_with_its_defaults(
    client: TestClient, hub: PushableHub, body: dict[str, Any]
) -> None:
    answer = post(client, body)
    assert answer.status_code == 202
    assert answer.json()["resolved"]["export"]["push_to"] == {"repo": REPO, "revision": "main", "private": True}
    assert answer.json()["request"]["export"] == {"push_to": {"repo": REPO}}
    assert "hf_right" not in answer.text
    assert ("GET", "/api/whoami-v2") in hub.requests


def test_one_that_may_not_be_is_refused_with_what_it_lacks(
    client: TestClient, hub: PushableHub, body: dict[str, Any]
) -> None:
    refused = (422, "push_not_allowed", "/export/push_to/repo")
    assert wrong(post(client, body, repo="others/x")) == refused
    assert "LAYERCUT_PUSH_OWNERS names team, somebody" in post(client, body, repo="others/x").json()["detail"]
    hub.users["hf_right"] = user("somebody", "read", orgs={"team": "write"})
    assert wrong(post(client, body)) == refused
    hub.users["hf_right"] = user("somebody")
    assert "no member of 'team'" in post(client, body).json()["detail"]
    hub.users.clear()
    assert wrong(post(client, body)) == refused
    assert client.get("/v1/jobs").json()["data"] == []


def test_a_hub_that_is_away_keeps_no_job_from_the_queue(
    client: TestClient, hub: PushableHub, body: dict[str, Any]
) -> None:
    hub.trick("whoami", says(503))
    assert post(client, body).status_code == 202
    assert ("GET", "/api/whoami-v2") in hub.requests


@pytest.mark.parametrize(
    ("push_to", "pointer"),
    [
        ({"repo": "alone"}, "/export/push_to/repo"),
        ({"repo": "team/../x"}, "/export/push_to/repo"),
        ({"repo": "team/a--b"}, "/export/push_to/repo"),
        ({"repo": "team/x.git"}, "/export/push_to/repo"),
        ({"repo": "team/x/y"}, "/export/push_to/repo"),
        ({"repo": "team/x\ny"}, "/export/push_to/repo"),
        ({"repo": "t" * 97 + "/x"}, "/export/push_to/repo"),
        ({"revision": "a b"}, "/export/push_to/revision"),
        ({"revision": "../main"}, "/export/push_to/revision"),
        ({"revision": "0" * 40}, "/export/push_to/revision"),
        ({"private": "yes"}, "/export/push_to/private"),
        ({"token": "hf_mine"}, "/export/push_to/token"),
    ],
)
def test_what_names_no_repository_or_branch_is_refused(
    refusing: TestClient, push_to: dict[str, Any], pointer: str
) -> None:
    answer = post(refusing, {"model": "a/b", "task": "none"}, **push_to)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_what_exports_no_model_pushes_none(client: TestClient, hub: PushableHub, body: dict[str, Any]) -> None:
    evaluates = {"task": "none", "prune": "none"}
    assert wrong(post(client, {**body, **evaluates}))[2] == "/export/push_to"
    assert hub.requests == []
