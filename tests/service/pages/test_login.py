"""Logging in: a session that names a key, ends with it, and does nothing that a form of ours has not asked for."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.tenants import Quotas, Scope
from service import authentication
from service.app import create_app
from service.authentication import Authenticator
from service.pages.sessions import SECONDS, Sessions
from service.settings import GatewaySettings
from service.state import GatewayState
from service.webhooks.signing import Signer
from store.audit import Actor
from store.keys import Holder
from tests.support.access import bearer, key_of
from tests.support.gateway_worker import claim, succeed
from tests.support.pages import Elements, log_in, send, token_of, words_of

A, B = "team-a", "team-b"
COOKIE = "layercut_session"


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    return settings.model_copy(update={"auth": "on"})


@pytest.fixture
def key(state: GatewayState) -> str:
    return key_of(state, A, Scope.SUBMIT)


def job_of(client: TestClient, key: str, body: dict[str, Any]) -> str:
    found: str = client.post("/v1/jobs", json=body, headers=bearer(key)).json()["id"]
    return found


def test_one_logs_in_and_out(client: TestClient, key: str) -> None:
    first = client.get("/ui/workers?x=1")
    assert words_of(first).count("Log in") >= 1
    assert [one["value"] for one in Elements(first.text).named("input") if one["name"] == "next"] == ["/ui/workers?x=1"]
    page = log_in(client, key, "/ui/workers?x=1")
    assert (page.status_code, page.url.path) == (200, "/ui/workers")
    assert A in words_of(page)
    out = send(client, "/ui/logout", page)
    assert (out.status_code, out.headers["Location"]) == (303, "/ui/login")
    assert COOKIE not in client.cookies
    assert client.get("/", follow_redirects=False).status_code == 303


def test_the_key_is_asked_for_as_a_password_and_stands_nowhere(client: TestClient, key: str) -> None:
    field = next(one for one in Elements(client.get("/ui/login").text).named("input") if one.get("name") == "key")
    assert (field["type"], field["autocomplete"]) == ("password", "current-password")
    wrong = key[:-1] + ("a" if key[-1] != "a" else "b")
    refused = log_in(client, wrong)
    assert refused.status_code == 401
    assert "not valid" in words_of(refused)
    assert wrong not in refused.text
    assert COOKIE not in client.cookies
    log_in(client, key)
    secret = key.rpartition("_")[2]
    body = client.cookies[COOKIE].partition(".")[0]
    assert secret not in base64.urlsafe_b64decode(body + "==").decode()
    assert secret not in client.get("/").text


@pytest.mark.parametrize(
    ("scheme", "names"),
    [("http", (COOKIE, "layercut_browser")), ("https", (f"__Host-{COOKIE}", "__Host-layercut_browser"))],
)
def test_a_cookie_is_for_us_alone(settings: GatewaySettings, scheme: str, names: tuple[str, str]) -> None:
    with TestClient(create_app(settings), base_url=f"{scheme}://testserver") as client:
        key = key_of(client.app.state.gateway, A, Scope.READ)  # type: ignore[attr-defined]
        page = client.get("/ui/login")
        answer = client.post(
            "/ui/login", data={"csrf": token_of(page), "key": key, "next": "/"}, follow_redirects=False
        )
        for name, header in zip(names, (answer.headers["Set-Cookie"], page.headers["Set-Cookie"]), strict=True):
            assert header.startswith(f"{name}=")
            flags = {part.strip().lower() for part in header.split(";")[1:]}
            assert {"httponly", "samesite=lax", "path=/"} <= flags
            assert ("secure" in flags) == (scheme == "https")
            assert not [flag for flag in flags if flag.startswith("domain")]
        assert f"Max-Age={SECONDS}" in answer.headers["Set-Cookie"]
        assert client.get("/").status_code == 200


def test_below_a_prefix_the_cookie_goes_nowhere_else(settings: GatewaySettings) -> None:
    below = settings.model_copy(update={"root_path": "/ml"})
    with TestClient(create_app(below), base_url="https://testserver") as client:
        header = client.get("/ml/ui/login").headers["Set-Cookie"]
    assert header.startswith("__Secure-layercut_browser=")
    assert "Path=/ml;" in header


ELSEWHERE = [
    "https://evil.example", "//evil.example", "/\\evil.example", "/ui/../../x", "javascript:alert(1)", "",
    "/ui/x\r\nSet-Cookie: a=b", "/v1/jobs", "/ui/login", "/ui/login?next=/ui/login", "\\\\evil.example",
    "/ui//evil?x=//evil#", "/jobs/x/resolve/main/config.json",
]  # fmt: skip


@pytest.mark.parametrize("following", ELSEWHERE)
def test_nobody_is_led_elsewhere(client: TestClient, key: str, following: str) -> None:
    page = client.get("/ui/login", params={"next": following})
    fields = {one.get("name"): one.get("value") for one in Elements(page.text).named("input")}
    answer = client.post(
        "/ui/login", data={"csrf": token_of(page), "key": key, "next": following}, follow_redirects=False
    )
    assert answer.status_code == 303
    for led in (str(fields["next"]), answer.headers["Location"]):
        assert led == "/" or (led.startswith("/ui/") and not led.startswith(("/ui/login", "//")))
        assert "evil.example" not in led
        assert "\n" not in led


def test_a_key_that_is_revoked_ends_its_sessions(
    client: TestClient, state: GatewayState, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(client, key)
    assert client.get("/").status_code == 200
    state.keys.revoke(key[:11], by=Actor(A))
    monkeypatch.setattr(authentication, "RECHECK_SECONDS", 0.0)
    assert client.get("/", follow_redirects=False).status_code == 303
    assert client.get("/v1/jobs").status_code == 401
    assert client.get("/", follow_redirects=False).status_code == 303, "and stays so"


def test_a_key_that_expires_ends_its_sessions(
    client: TestClient, state: GatewayState, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = key_of(state, A, Scope.READ, expires_in_days=1.0)
    log_in(client, short)
    monkeypatch.setattr(authentication, "RECHECK_SECONDS", 0.0)
    state.keys.rotate(short[:11], grace_seconds=-1, by=Actor(A))
    assert client.get("/", follow_redirects=False).status_code == 303


def test_a_session_has_its_time(tmp_path: Path) -> None:
    signer = Signer(GatewaySettings(data_dir=tmp_path))
    clock = [1000.0]
    sessions = Sessions(signer, clock=lambda: clock[0])
    cookie = sessions.begin(Holder(A, Scope.READ, "lc_00000000", Quotas(), A))
    found = sessions.read(cookie)
    assert found
    assert (found.tenant, found.key_id) == (A, "lc_00000000")
    clock[0] += SECONDS - 1
    assert sessions.read(cookie)
    clock[0] += 1
    assert sessions.read(cookie) is None
    clock[0] = 0.0
    assert sessions.read(cookie) is None, "one from the future is none"


def test_what_we_did_not_sign_is_no_session(client: TestClient, key: str, tmp_path: Path) -> None:
    log_in(client, key)
    right = client.cookies[COOKIE]
    body, _, signature = right.partition(".")
    read = json.loads(base64.urlsafe_b64decode(body + "=="))
    other = base64.urlsafe_b64encode(json.dumps({**read, "tenant": "default"}).encode()).rstrip(b"=").decode()
    stranger = Sessions(Signer(GatewaySettings(data_dir=tmp_path / "other")))
    forged = stranger.begin(Holder("default", Scope.ADMIN, key[:11], Quotas(), "default"))
    for cookie in (
        f"{other}.{signature}",
        body,
        f"{body}.",
        f".{signature}",
        "x" * 3000,
        "a.b",
        right[:-2] + "xx",
        forged,
        "é.x",
    ):
        client.cookies.clear()
        answer = client.get("/", headers={"Cookie": f"{COOKIE}={cookie}".encode()}, follow_redirects=False)
        assert answer.status_code == 303, cookie


def test_a_session_of_another_tenants_key_is_none(state: GatewayState, client: TestClient, key: str) -> None:
    """Signed by us, and never given: a key that has gone to another tenant."""
    cookie = state.sessions.begin(Holder(B, Scope.ADMIN, key[:11], Quotas(), B))
    answer = client.get("/", headers={"Cookie": f"{COOKIE}={cookie}"}, follow_redirects=False)
    assert answer.status_code == 303


def test_too_many_tries_are_told_when_to_go_on(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "PER_ADDRESS", authentication.Rate(per_minute=1, burst=1))
    log_in(client, "lc_wrong")
    refused = log_in(client, "lc_wrong")
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert "try again in" in words_of(refused)


def test_the_cookie_reads_the_api_and_writes_with_a_token_alone(
    client: TestClient, key: str, body: dict[str, Any]
) -> None:
    page = log_in(client, key)
    assert client.get("/v1/jobs").status_code == 200
    refused = client.post("/v1/jobs", json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "csrf_refused")
    assert client.post("/v1/jobs", json=body, headers={"X-CSRF-Token": "x"}).status_code == 403
    made = client.post("/v1/jobs", json=body, headers={"X-CSRF-Token": token_of(page)})
    assert made.status_code == 202
    assert client.delete(f"/v1/jobs/{made.json()['id']}").status_code == 403
    assert client.get("/v1/jobs", headers=bearer("lc_wrong")).status_code == 401, "a header goes before the cookie"


def test_a_token_of_another_session_is_none(settings: GatewaySettings) -> None:
    app = create_app(settings)
    with TestClient(app) as one:
        state: GatewayState = app.state.gateway
        first = log_in(one, key_of(state, A, Scope.SUBMIT))
        other = TestClient(app)
        log_in(other, key_of(state, A, Scope.SUBMIT))
        assert other.post("/ui/logout", data={"csrf": token_of(first)}, follow_redirects=False).status_code == 403


def test_tenants_see_their_own(
    client: TestClient, state: GatewayState, key: str, body: dict[str, Any], tmp_path: Path
) -> None:
    job_id = job_of(client, key, {**body, "metadata": {"of": "a"}})
    succeed(state, claim(state), tmp_path / "scratch")
    log_in(client, key)
    assert job_id[-8:] in client.get("/").text
    mine = client.get(f"/ui/jobs/{job_id}")
    assert mine.status_code == 200
    client.cookies.clear()
    log_in(client, key_of(state, B, Scope.ADMIN))
    assert "No job yet" in client.get("/").text
    for path in (f"/ui/jobs/{job_id}", f"/ui/jobs/{job_id}/job.json", f"/ui/jobs/{job_id}/delete"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert "There is no such job" in words_of(answer)
        assert "bert" not in answer.text
    assert send(client, f"/ui/jobs/{job_id}/delete").status_code == 404
    assert state.store.get(job_id)


def test_a_part_of_a_page_is_led_to_the_login_as_a_whole(client: TestClient) -> None:
    answer = client.get("/", headers={"HX-Request": "true"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, "/ui/login")


def test_who_is_not_asked_for_a_key_has_no_login(settings: GatewaySettings) -> None:
    with TestClient(create_app(settings.model_copy(update={"auth": "off"}))) as client:
        answer = client.get("/ui/login", follow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/")
        assert "Log out" not in client.get("/").text


def test_sessions_ask_the_database_once_in_a_while(
    client: TestClient, state: GatewayState, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(client, key)
    client.get("/")
    asked: list[str] = []
    valid = state.keys.valid
    monkeypatch.setattr(state.keys, "valid", lambda key_id: (asked.append(key_id), valid(key_id))[1])
    for _ in range(3):
        assert client.get("/").status_code == 200
    assert asked == []
    assert isinstance(state.authenticator, Authenticator)
