"""Two tenants and every route that the application has: what is another's is not there, and scopes hold everywhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from httpx import Response

from api_schemas.tenants import Scope
from service import authentication
from service.app import create_app
from service.rates import Rate
from service.settings import GatewaySettings
from service.state import GatewayState
from store.audit import Actor
from tests.support.access import bearer, key_of
from tests.support.gateway_worker import claim, succeed

A, B = "team-a", "team-b"
NOBODY = "job_000000000000000000000000"
NO_KEY = "lc_00000000"
NO_STUDY = "stu_000000000000000000000000"
NO_UPLOAD = "upl_000000000000000000000000"
NO_HOOK, NO_DELIVERY = "whk_000000000000000000000000", "msg_000000000000000000000000"

#: What anybody may ask.
OPEN = {"/healthz", "/readyz", "/version", "/problems/{name}", "/docs", "/docs/start.js", "/docs/{name}"}
#: What a path's parameters are, besides a job's id.
NAMES = {
    "name": "report.json", "key_id": NO_KEY, "webhook_id": NO_HOOK, "delivery_id": NO_DELIVERY,
    "revision": "main", "file": "report.json", "folder": "x", "upload_id": NO_UPLOAD, "study_id": NO_STUDY,
}  # fmt: skip
#: Beside `/v1`: the hub's protocol, of which one question comes as a POST.
OF_THE_HUB = ("/api/", "/jobs/", "/{name:path}/resolve/")
ASKS_BY_POST = "/api/models/jobs/{job_id}/paths-info/{revision:path}"


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    return settings.model_copy(update={"auth": "on"})


def routes(app: FastAPI | None = None) -> Iterator[tuple[str, str]]:
    """(method, path) of every route; walked before there is a gateway, so that each is a test of its own."""

    def walk(found: Any) -> Iterator[APIRoute]:
        for route in found:
            if isinstance(route, APIRoute):
                yield route
            else:
                yield from walk(getattr(getattr(route, "original_router", None), "routes", ()))

    for route in walk((app or create_app(GatewaySettings())).routes):
        yield from ((method, route.path) for method in sorted(route.methods or ()))


def is_page(path: str) -> bool:
    """These lead to the login page: tests/service/pages."""
    return path == "/" or path.startswith("/ui/")


CLOSED = [(method, path) for method, path in routes() if path not in OPEN and not is_page(path)]
OF_A_WEBHOOK = [pair for pair in CLOSED if "{webhook_id}" in pair[1]]
OF_A_JOB = [pair for pair in CLOSED if "{job_id}" in pair[1]]
WRITING = [pair for pair in CLOSED if pair[0] not in ("GET", "HEAD") and pair[1] != ASKS_BY_POST]
OF_ADMINS = [pair for pair in CLOSED if pair[1].startswith(("/v1/keys", "/v1/audit"))]


def filled(path: str, **names: str) -> str:
    return re.sub(r"\{(\w+)(:path)?\}", lambda found: {"job_id": NOBODY, **NAMES, **names}[found[1]], path)


def seen(answer: Response) -> tuple[int, Any, dict[str, str]]:
    """Status, body and headers, but for what is of the one request."""
    own = ("x-request-id", "ratelimit", "date")
    headers = {name: value for name, value in answer.headers.items() if name not in own}
    body = re.sub(rb'"request_id":"[^"]*"', b"", answer.content)
    return answer.status_code, body, headers


@pytest.fixture
def as_(client: TestClient, state: GatewayState) -> Callable[..., Response]:
    """Ask as one with a key of that tenant and scope."""
    keys: dict[tuple[str, Scope], str] = {}

    def ask(tenant: str, method: str, path: str, scope: Scope = Scope.ADMIN, **more: Any) -> Response:
        key = keys.setdefault((tenant, scope), "") or key_of(state, tenant, scope)
        keys[tenant, scope] = key
        headers = {**bearer(key), **more.pop("headers", {})}
        return client.request(method, path, headers=headers, **more)

    return ask


@pytest.fixture
def of_a(as_: Callable[..., Response], state: GatewayState, body: dict[str, Any], tmp_path: Path) -> dict[str, str]:
    """Jobs of A, by what became of them."""
    jobs = {}
    for name in ("finished", "queued"):
        jobs[name] = as_(A, "POST", "/v1/jobs", json={**body, "metadata": {"of": "a"}}).json()["id"]
        if name == "finished":
            succeed(state, claim(state), tmp_path / "scratch")
    return jobs


def test_the_walk_finds_the_routes() -> None:
    assert {
        "/v1/jobs/{job_id}/cancel",
        "/v1/jobs/{job_id}/retry",
        "/v1/jobs/{job_id}",
        "/v1/jobs/{job_id}/events",
        "/v1/jobs/{job_id}/files/{name:path}",
        "/jobs/{job_id}/resolve/{revision}/{file:path}",
        ASKS_BY_POST,
    } <= {path for _, path in OF_A_JOB}
    assert {("POST", "/v1/jobs"), ("POST", "/v1/plans"), ("DELETE", "/v1/keys/{key_id}")} <= set(WRITING)
    others = {path for _, path in routes() if not path.startswith(("/v1/", *OF_THE_HUB)) and not is_page(path)}
    assert others == OPEN | {"/metrics"}


def test_nothing_is_answered_without_a_key(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    # More routes than refused keys that one address may send in a minute.
    for name in ("PER_ADDRESS", "IN_ALL"):
        monkeypatch.setattr(authentication, name, Rate(per_minute=60, burst=len(CLOSED)))
    for method, path in CLOSED:
        answer = client.request(method, filled(path))
        said = (answer.status_code, answer.headers.get("www-authenticate"))
        assert said == (401, 'Bearer realm="layercut"'), (method, path)


def test_a_key_that_reads_writes_nothing(as_: Callable[..., Response], of_a: dict[str, str]) -> None:
    for method, path in WRITING:
        answer = as_(A, method, filled(path, job_id=of_a["queued"]), Scope.READ, json={})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), (method, path)
        assert "needs the scope" in answer.json()["detail"]
    assert as_(A, "GET", f"/v1/jobs/{of_a['queued']}", Scope.READ).json()["status"] == "queued"


def test_only_admins_see_keys_and_the_audit_log(as_: Callable[..., Response]) -> None:
    for scope in (Scope.READ, Scope.SUBMIT):
        for method, path in OF_ADMINS:
            answer = as_(A, method, filled(path), scope, json={})
            assert answer.status_code == 403, (method, path)
            assert answer.json()["detail"].endswith(f"this key has {scope}")


@pytest.mark.parametrize("job", ["finished", "queued"])
def test_another_tenants_job_is_as_one_that_does_not_exist(
    as_: Callable[..., Response], of_a: dict[str, str], job: str
) -> None:
    for method, path in OF_A_JOB:
        for headers in ({}, {"Accept": "text/event-stream"}, {"Prefer": "wait=1"}):
            theirs, nobodys = (
                seen(as_(B, method, filled(path, job_id=name), headers=headers)) for name in (of_a[job], NOBODY)
            )
            if nobodys[0] == 406:  # a report is no stream of events, whoever asks
                assert theirs == nobodys
                continue
            assert theirs[0] == 404, (method, path, headers)
            for name, value in theirs[2].items():
                assert nobodys[2][name] == value.replace(of_a[job], NOBODY), (method, path, name)
            assert theirs[1].replace(of_a[job].encode(), NOBODY.encode()) == nobodys[1], (method, path, headers)
    assert as_(A, "GET", f"/v1/jobs/{of_a['queued']}").json()["status"] == "queued", "and nobody cancelled it"
    assert as_(A, "GET", f"/v1/jobs/{of_a['finished']}/report").status_code == 200, "nor deleted it"


def test_many_are_cancelled_of_ones_own(as_: Callable[..., Response], of_a: dict[str, str]) -> None:
    for asked in ({"ids": list(of_a.values())}, {"task": "none"}, {"metadata": {"of": "a"}}):
        assert as_(B, "POST", "/v1/jobs/cancel", json=asked).json()["matched"] == 0
    assert as_(A, "POST", "/v1/jobs/cancel", json={"task": "none"}).json()["cancelled"] == 1


def test_a_key_of_a_request_is_a_tenants_own(as_: Callable[..., Response], body: dict[str, Any]) -> None:
    jobs = [as_(tenant, "POST", "/v1/jobs", json=body, headers={"Idempotency-Key": "k"}).json() for tenant in (A, B, A)]
    assert jobs[0] == jobs[2] != jobs[1]


def test_what_was_done_to_jobs_is_in_the_audit_log(as_: Callable[..., Response], of_a: dict[str, str]) -> None:
    queued = of_a["queued"]
    as_(A, "POST", "/v1/jobs/cancel", json={"ids": [queued]})
    as_(A, "POST", f"/v1/jobs/{queued}/retry")
    as_(A, "POST", f"/v1/jobs/{queued}/cancel")
    as_(A, "DELETE", f"/v1/jobs/{queued}")
    lines = as_(A, "GET", "/v1/audit?limit=4").json()["data"]
    assert [line["action"] for line in lines] == ["job.delete", "job.cancel", "job.retry", "job.cancel"]
    assert {line["target"] for line in lines} == {queued}


def test_lists_have_ones_own(as_: Callable[..., Response], of_a: dict[str, str], body: dict[str, Any]) -> None:
    own = as_(B, "POST", "/v1/jobs", json=body).json()
    assert own["progress"]["queue_position"] == 1
    for query in ("", "?metadata[of]=a", "?status=succeeded", f"?after={of_a['queued']}", "?limit=1"):
        answer = as_(B, "GET", f"/v1/jobs{query}").json()
        assert {job["id"] for job in answer["data"]} <= {own["id"]}, query
        assert (answer["has_more"], answer["next_cursor"]) == (False, None)
    assert [job["id"] for job in as_(A, "GET", "/v1/jobs?metadata[of]=a").json()["data"]] == [
        of_a["queued"], of_a["finished"],
    ]  # fmt: skip


def test_keys_of_another_tenant_are_not_there(as_: Callable[..., Response]) -> None:
    made = as_(A, "POST", "/v1/keys", json={"name": "ci"}).json()
    for method, path in (("DELETE", "/v1/keys/{key_id}"), ("POST", "/v1/keys/{key_id}/rotate")):
        theirs, nobodys = (seen(as_(B, method, filled(path, key_id=name))) for name in (made["id"], NO_KEY))
        assert theirs[0] == 404
        assert theirs[1].replace(made["id"].encode(), NO_KEY.encode()) == nobodys[1]
    assert made["id"] not in as_(B, "GET", "/v1/keys").text
    assert made["id"] not in as_(B, "GET", "/v1/audit").text
    assert made["id"] in as_(A, "GET", "/v1/audit").text


def test_webhooks_of_another_tenant_are_not_there(
    as_: Callable[..., Response], settings: GatewaySettings, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.routes.webhooks.check", lambda *_: None)
    made = as_(A, "POST", "/v1/webhooks", json={"url": "https://hooks.example.org/", "events": ["job.queued"]}).json()
    as_(A, "POST", "/v1/jobs", json=body)
    sent = as_(A, "GET", f"/v1/webhooks/{made['id']}/deliveries").json()["data"][0]["id"]
    assert len(OF_A_WEBHOOK) == 7
    for method, path in OF_A_WEBHOOK:
        theirs, nobodys = (
            seen(as_(B, method, filled(path, webhook_id=name, delivery_id=sent), json={"enabled": False}))
            for name in (made["id"], NO_HOOK)
        )
        assert theirs[0] == 404, (method, path)
        assert theirs[1].replace(made["id"].encode(), NO_HOOK.encode()) == nobodys[1], (method, path)
    assert as_(B, "GET", "/v1/webhooks").json()["data"] == []
    own = as_(B, "POST", "/v1/webhooks", json={"url": "https://hooks.example.org/", "events": ["*"]}).json()
    as_(A, "POST", "/v1/jobs", json=body)
    assert as_(B, "GET", f"/v1/webhooks/{own['id']}/deliveries").json()["data"] == []
    path = filled(f"/v1/webhooks/{own['id']}/deliveries/{{delivery_id}}/redeliver", delivery_id=sent)
    mixed = as_(B, "POST", path)
    assert mixed.json()["code"] == "delivery_not_found"
    assert as_(A, "GET", f"/v1/webhooks/{made['id']}").json()["enabled"], "and nobody switched it off"


def test_a_key_is_made_used_rotated_and_revoked(client: TestClient, as_: Callable[..., Response]) -> None:
    made = as_(A, "POST", "/v1/keys", json={"name": "ci", "scope": "submit", "expires_in_days": 30})
    assert made.status_code == 201
    old = made.json()
    assert client.get("/v1/jobs", headers=bearer(old["key"])).status_code == 200
    new = as_(A, "POST", f"/v1/keys/{old['id']}/rotate?grace_seconds=60").json()
    assert (new["name"], new["scope"], new["tenant"]) == ("ci", "submit", A)
    for key in (old, new):
        assert client.get("/v1/jobs", headers=bearer(key["key"])).status_code == 200
    shown = as_(A, "GET", "/v1/keys")
    assert old["key"].split("_")[2] not in shown.text
    assert {key["id"] for key in shown.json()["data"]} >= {old["id"], new["id"]}
    assert as_(A, "DELETE", f"/v1/keys/{new['id']}").json()["revoked_at"] is not None
    actions = [line["action"] for line in as_(A, "GET", "/v1/audit?limit=3").json()["data"]]
    assert actions == ["key.revoke", "key.rotate", "key.create"]
    page = as_(A, "GET", "/v1/audit?limit=1").json()
    assert page["has_more"]
    assert as_(A, "GET", f"/v1/audit?limit=1&before={page['next_cursor']}").json()["data"][0]["action"] == "key.rotate"


def test_priority_is_bounded_by_scope(as_: Callable[..., Response], body: dict[str, Any]) -> None:
    for scope, priority, status in (
        (Scope.SUBMIT, 0, 202), (Scope.SUBMIT, -5, 202), (Scope.SUBMIT, 1, 403), (Scope.ADMIN, 100, 202),
    ):  # fmt: skip
        answer = as_(A, "POST", "/v1/jobs", scope, json={**body, "priority": priority})
        assert answer.status_code == status, (scope, priority)
        if status == 403:
            assert answer.json()["errors"][0]["pointer"] == "/priority"
            assert "a priority above 0 needs the scope admin" in answer.json()["detail"]


def test_a_full_queue_is_said_with_when_to_come_again(
    as_: Callable[..., Response], state: GatewayState, body: dict[str, Any]
) -> None:
    as_(A, "POST", "/v1/jobs", json=body)
    state.tenants.change(A, queued_jobs=1)
    answer = as_(A, "POST", "/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (429, "quota_exceeded", "60")
    assert "1 jobs are queued, and the quota queued_jobs is 1" in answer.json()["detail"]
    assert as_(B, "POST", "/v1/jobs", json=body).status_code == 202


def test_what_was_done_by_the_command_line_has_no_key(as_: Callable[..., Response], state: GatewayState) -> None:
    as_(A, "GET", "/v1/jobs")
    state.tenants.change(A, queued_jobs=5)
    line = as_(A, "GET", "/v1/audit").json()["data"][0]
    assert (line["action"], line["key_id"], line["outcome"]) == ("tenant.change", None, "queued_jobs=5")
    assert Actor(A).key_id is None
