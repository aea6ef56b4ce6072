"""A key is what it says for as long as it is valid; of its secret nothing is kept but a slow hash."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text

from api_schemas.errors import LayercutError
from api_schemas.tenants import Quotas, Scope
from store.audit import Actor
from store.keys import Holder, KeyStore, Rejected
from store.tenants import TenantStore

A, B = "team-a", "team-b"
BY = Actor(A)


@pytest.fixture
def keys(engine: Engine) -> KeyStore:
    for tenant in (A, B):
        TenantStore(engine).create(tenant, tenant, Quotas(queued_jobs=3))
    return KeyStore(engine)


def test_a_key_lets_its_tenant_in(keys: KeyStore) -> None:
    made = keys.create(A, "ci", Scope.SUBMIT, by=BY)
    assert made.key.startswith(f"{made.id}_lc_"[:12])
    assert len(made.key) == 55
    assert keys.verify(made.key) == Holder(A, Scope.SUBMIT, made.id, Quotas(queued_jobs=3), A)
    assert keys.any_valid()


def test_only_a_hash_of_the_secret_is_kept(engine: Engine, keys: KeyStore) -> None:
    secret = keys.create(A, "ci", Scope.READ, by=BY).key.split("_")[2]
    with engine.connect() as connection:
        everything = [
            str(row) for table in ("api_keys", "audit") for row in connection.execute(text(f"SELECT * FROM {table}"))
        ]
    assert not [line for line in everything if secret in line]
    assert [line for line in everything if "scrypt$14$8$1$" in line]


def test_wrong_expired_and_revoked_keys_let_nobody_in(keys: KeyStore) -> None:
    good = keys.create(A, "good", Scope.ADMIN, by=BY)
    expired = keys.create(A, "expired", Scope.ADMIN, expires_in_days=0, by=BY)
    revoked = keys.create(A, "revoked", Scope.ADMIN, by=BY)
    assert keys.revoke(revoked.id, by=BY).revoked_at is not None
    assert keys.revoke(revoked.id, by=BY).revoked_at == keys.revoke(revoked.id, by=BY).revoked_at
    swapped = f"{good.id}_{revoked.key.split('_')[2]}"
    for key in ("", "x", "lc_00000000_" + "0" * 43, good.key[:-1], good.key + "0", swapped, expired.key, revoked.key):
        assert isinstance(keys.verify(key), Rejected), key
    assert isinstance(keys.verify(good.key), Holder)


def test_missing_wrong_expired_and_revoked_take_as_long(keys: KeyStore) -> None:
    good = keys.create(A, "good", Scope.ADMIN, by=BY)
    revoked = keys.create(A, "revoked", Scope.ADMIN, by=BY)
    keys.revoke(revoked.id, by=BY)
    asked = {"": [], good.key[:-1] + "-": [], good.key[:-1] + "0": [], revoked.key: []}  # type: ignore[var-annotated]
    for _ in range(5):
        for key, seconds in asked.items():
            began = time.perf_counter()
            keys.verify(key)
            seconds.append(time.perf_counter() - began)
    best = [min(seconds) for seconds in asked.values()]
    assert max(best) < 2 * min(best), best


def test_a_new_key_in_the_place_of_an_old_one(keys: KeyStore) -> None:
    old = keys.create(A, "ci", Scope.SUBMIT, expires_in_days=10, by=BY)
    new = keys.rotate(old.id, grace_seconds=3600, by=BY)
    assert (new.name, new.scope, new.tenant) == (old.name, old.scope, old.tenant)
    assert new.expires_at is not None
    assert old.expires_at is not None
    assert abs((new.expires_at - old.expires_at).total_seconds()) < 60
    assert isinstance(keys.verify(old.key), Holder), "for an hour yet"
    keys.rotate(old.id, by=BY)
    assert isinstance(keys.verify(old.key), Rejected)
    assert isinstance(keys.verify(new.key), Holder)
    with pytest.raises(LayercutError, match="has expired or was revoked"):
        keys.rotate(old.id, by=BY)


def test_a_holder_is_looked_at_again_without_the_secret(engine: Engine, keys: KeyStore) -> None:
    made = keys.create(A, "ci", Scope.SUBMIT, by=BY)
    holder = keys.verify(made.key)
    assert isinstance(holder, Holder)
    TenantStore(engine).change(A, queued_jobs=9)
    again = keys.recheck(holder)
    assert again is not None
    assert again.quotas.queued_jobs == 9
    assert keys.get(made.id).last_used_at is not None
    keys.revoke(made.id, by=BY)
    assert keys.recheck(holder) is None


def test_the_keys_of_another_tenant_are_not_there(keys: KeyStore) -> None:
    made = keys.create(A, "ci", Scope.SUBMIT, by=BY)
    assert keys.list(B) == []
    for act in (keys.revoke, keys.rotate):
        with pytest.raises(LayercutError, match=f"there is no key '{made.id}'"):
            act(made.id, tenant=B, by=Actor(B))
    assert isinstance(keys.verify(made.key), Holder)


def test_a_key_that_was_revoked_makes_rotates_and_revokes_none(keys: KeyStore) -> None:
    stolen, other = (keys.create(A, name, Scope.ADMIN, by=BY) for name in ("stolen", "other"))
    keys.revoke(stolen.id, by=BY)
    thief = Actor(A, stolen.id)
    for attempt in (
        lambda: keys.create(A, "successor", Scope.ADMIN, by=thief),
        lambda: keys.rotate(stolen.id, by=thief),
        lambda: keys.rotate(other.id, by=thief),
        lambda: keys.revoke(other.id, by=thief),
    ):
        with pytest.raises(LayercutError) as refused:
            attempt()
        assert refused.value.code == "unauthorized"
    assert [key.name for key in keys.list(A) if key.revoked_at is None] == ["other"]
    assert keys.revoke(other.id, by=Actor(A, other.id)).revoked_at is not None


def test_of_two_admins_who_revoke_each_other_at_once_one_does(keys: KeyStore) -> None:
    made = [keys.create(A, name, Scope.ADMIN, by=BY) for name in ("one", "two")]
    together = threading.Barrier(2)

    def revoke(mine: int) -> str:
        together.wait()
        try:
            keys.revoke(made[1 - mine].id, by=Actor(A, made[mine].id))
        except LayercutError as error:
            return error.code
        return "revoked"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(revoke, (0, 1))) == ["revoked", "unauthorized"]
