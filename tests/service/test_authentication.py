"""Whoever has no valid key gets one answer, whatever is wrong with it; many who try cost little."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from fastapi.testclient import TestClient

from api_schemas.errors import LayercutError
from api_schemas.tenants import Scope
from service import authentication
from service.app import create_app
from service.authentication import Authenticator
from service.listening import refusal
from service.rates import Rate
from service.settings import GatewaySettings
from service.state import GatewayState
from store.audit import Actor
from store.keys import Holder, KeyStore
from tests.support.access import bearer, key_of

A = "team-a"


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    return settings.model_copy(update={"auth": "on"})


def without_id(answer: Any) -> dict[str, Any]:
    return {name: value for name, value in answer.json().items() if name != "request_id"}


def test_missing_wrong_expired_and_revoked_get_the_same_answer(client: TestClient, state: GatewayState) -> None:
    good, expired, revoked = (
        key_of(state, A, Scope.READ),
        key_of(state, A, Scope.READ, expires_in_days=0),
        key_of(state, A, Scope.READ),
    )
    state.keys.revoke(revoked[:11], by=Actor(A))
    wrong = f"{good[:12]}{'0' * 43}"
    headers = [
        {},
        {"Authorization": "Basic eDp5"},
        *map(bearer, (wrong, "x", "lc_00000000_" + "0" * 43, expired, revoked)),
    ]
    answers = [client.get("/v1/jobs", headers=sent) for sent in headers]
    assert {answer.status_code for answer in answers} == {401}
    assert all(without_id(answer) == without_id(answers[0]) for answer in answers)
    kept = ("content-type", "content-length", "www-authenticate")
    assert all(answer.headers[name] == answers[0].headers[name] for answer in answers for name in kept)
    assert answers[0].headers["www-authenticate"] == 'Bearer realm="layercut"'
    assert answers[0].json()["code"] == "unauthorized"
    assert client.get("/v1/jobs", headers=bearer(good)).status_code == 200


def test_probes_and_texts_need_no_key(client: TestClient) -> None:
    for path in ("/healthz", "/readyz", "/version", "/openapi.json", "/problems/unauthorized"):
        assert client.get(path).status_code == 200, path


def test_a_key_that_is_sent_is_checked_where_none_is_needed(settings: GatewaySettings) -> None:
    with TestClient(create_app(settings.model_copy(update={"auth": "auto"}))) as client:
        state = client.app.state.gateway  # type: ignore[attr-defined]
        assert client.get("/v1/jobs").status_code == 200
        assert client.get("/v1/jobs", headers=bearer("wrong")).status_code == 401
        assert client.get("/v1/keys", headers=bearer(key_of(state, A, Scope.ADMIN))).json()["data"][0]["tenant"] == A
        assert client.get("/v1/jobs", headers={"Authorization": "Basic eDp5"}).status_code == 200, "a proxy's, not ours"


def test_a_revoked_key_ends_soon_and_changed_quotas_count(
    client: TestClient, state: GatewayState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "RECHECK_SECONDS", 0.0)
    key = key_of(state, A, Scope.READ)
    assert client.get("/v1/jobs", headers=bearer(key)).status_code == 200
    assert "ratelimit" not in client.get("/v1/jobs", headers=bearer(key)).headers
    state.tenants.change(A, requests_per_minute=2)
    answer = client.get("/v1/jobs", headers=bearer(key))
    assert answer.headers["ratelimit-policy"] == '"requests";q=2;w=60'
    assert answer.headers["ratelimit"] == '"requests";r=1;t=30'
    client.get("/v1/jobs", headers=bearer(key))
    refused = client.get("/v1/jobs", headers=bearer(key))
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert "requests_per_minute is 2" in refused.json()["detail"]
    assert 0 < int(refused.headers["retry-after"]) <= 30
    state.keys.revoke(key[:11], by=Actor(A))
    assert client.get("/v1/jobs", headers=bearer(key)).status_code == 401


@pytest.fixture
def keys(state: GatewayState) -> KeyStore:
    return state.keys


@pytest.fixture
def authenticator(keys: KeyStore) -> Iterator[Authenticator]:
    made = Authenticator(keys, required=True)
    yield made
    made.close()


async def code_of(authenticator: Authenticator, key: str, address: str = "192.0.2.1") -> str:
    try:
        await authenticator.holder(f"Bearer {key}", address)
    except LayercutError as error:
        return error.code
    return "in"


def test_ten_thousand_wrong_keys_cost_little_and_lock_no_honest_one_out(
    state: GatewayState, keys: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "PER_ADDRESS", Rate(per_minute=60, burst=10))
    monkeypatch.setattr(authentication, "IN_ALL", Rate(per_minute=240, burst=20))
    authenticator = Authenticator(keys, required=True, clock=lambda: 1.0)
    honest = key_of(state, A, Scope.READ)

    async def attack() -> tuple[list[str], list[str], int]:
        assert await code_of(authenticator, honest) == "in"
        before = psutil.Process().memory_info().rss
        codes, meanwhile = [], []
        for start in range(0, 10_000, 500):
            keys = [f"lc_{start + n:08d}_{'0' * 43}" for n in range(500)]
            addresses = [f"10.0.{start // 500}.{n % 250}" if start >= 5000 else "192.0.2.1" for n in range(500)]
            codes += await asyncio.gather(
                *(code_of(authenticator, *pair) for pair in zip(keys, addresses, strict=True))
            )
            meanwhile.append(await code_of(authenticator, honest))
        return codes, meanwhile, psutil.Process().memory_info().rss - before

    codes, meanwhile, grown = asyncio.run(attack())
    assert set(meanwhile) == {"in"}
    assert set(codes) == {"unauthorized", "too_many_attempts"}
    assert codes[:5000].count("unauthorized") == 10, "from one address"
    assert codes.count("unauthorized") == 20, "and in all"
    assert grown < 64 * 2**20
    told = authenticator.refusals()
    assert sum(told.values()) == 10_000
    assert len(told) <= authentication.MOST_ADDRESSES + 1
    assert authenticator.refusals() == {}
    authenticator.close()


def test_many_requests_with_one_good_key_cost_one_hash(state: GatewayState, keys: KeyStore) -> None:
    honest, asked = key_of(state, A, Scope.READ), []

    class Counted(KeyStore):
        def verify(self, key: str) -> Any:
            asked.append(key)
            return super().verify(key)

    async def arrive() -> list[str]:
        authenticator = Authenticator(Counted(state.engine), required=True)
        try:
            return await asyncio.gather(*(code_of(authenticator, honest) for _ in range(200)))
        finally:
            authenticator.close()

    assert set(asyncio.run(arrive())) == {"in"}
    assert asked == [honest]


def test_hosts_of_one_ipv6_network_are_counted_together(
    authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "PER_ADDRESS", Rate(per_minute=1, burst=2))

    async def attack() -> list[str]:
        return [await code_of(authenticator, "x", f"2001:db8::{n:x}") for n in range(1, 6)]

    assert asyncio.run(attack()).count("unauthorized") == 2


def test_refusals_stand_in_the_audit_log_in_one_line(client: TestClient, state: GatewayState) -> None:
    key = key_of(state, A, Scope.READ)
    for _ in range(3):
        client.get("/v1/jobs", headers=bearer(f"{key[:12]}{'0' * 43}"))
    state.audit.refused(state.authenticator.refusals())
    line = state.audit.page(A)[0][0]
    assert (line.action, line.outcome, line.key_id, line.address) == (
        "authenticate", "refused, 3 times", key[:11], "unknown",  # no address, but a test client's name
    )  # fmt: skip


@pytest.mark.parametrize(
    ("host", "auth", "starts"),
    [("127.0.0.1", "auto", True), ("::1", "on", True), ("0.0.0.0", "auto", False), ("192.0.2.1", "on", False),
     ("0.0.0.0", "off", True), ("localhost", "auto", True), ("gateway.example", "auto", False)],
)  # fmt: skip
def test_it_listens_for_strangers_only_with_a_key(
    settings: GatewaySettings, state: GatewayState, host: str, auth: str, starts: bool
) -> None:
    chosen = settings.model_copy(update={"host": host, "auth": auth})
    why = refusal(chosen, state.keys)
    assert (why is None) == starts
    if why is not None:
        assert "layercut keys create" in why
        assert "LAYERCUT_AUTH=off" in why
        key_of(state, A, Scope.READ)
        assert refusal(chosen, state.keys) is None


def test_those_who_have_one_key_share_the_question_whether_it_is_still_valid(
    client: TestClient, state: GatewayState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a database that hangs, each would wait behind the one before."""
    sent, asked = f"Bearer {key_of(state, A, Scope.READ)}", []
    recheck = KeyStore.recheck

    def counted(keys: KeyStore, holder: Holder) -> Holder | None:
        asked.append(holder.key_id)
        return recheck(keys, holder)

    async def ask() -> None:
        found = Authenticator(state.keys, required=True)
        await found.holder(sent, "127.0.0.1")
        monkeypatch.setattr(authentication, "RECHECK_SECONDS", -1.0)
        monkeypatch.setattr(KeyStore, "recheck", counted)
        holders = await asyncio.gather(*(found.holder(sent, "127.0.0.1") for _ in range(50)))
        assert {holder.tenant for holder in holders} == {A}
        found.close()

    asyncio.run(ask())
    assert len(asked) == 1
