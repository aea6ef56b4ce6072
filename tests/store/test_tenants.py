"""Tenants share the workers fairly, each within its quotas, and none is told of the others' jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, select

from api_schemas.errors import LayercutError
from api_schemas.jobs import Job
from api_schemas.tenants import Quotas
from store.audit import Actor, AuditLog
from store.cache import CacheStore, Have, Make, Wait
from store.jobs import Claim, JobStore
from store.listing import JobFilter
from store.tables import jobs
from store.tenants import SHARED_POOL, TenantStore
from tests.support.events import queue
from tests.support.store_samples import SUCCEEDED

A, B, C = "team-a", "team-b", "team-c"

Queue = Callable[..., Job]


@pytest.fixture
def tenants(engine: Engine) -> TenantStore:
    store = TenantStore(engine)
    for tenant in (A, B, C):
        store.create(tenant, tenant.upper(), Quotas())
    return store


@pytest.fixture
def queued(store: JobStore, tenants: TenantStore) -> Queue:
    """Queue a job of a tenant; keywords are fields of its request."""

    def create(tenant: str, **fields: Any) -> Job:
        return queue(store.of(Actor(tenant)), {"model": "acme/bert", "task": "sst2", **fields})

    return create


def taken(store: JobStore, **how: Any) -> Claim:
    claim = store.claim("w", **how)
    assert claim is not None
    return claim


def test_who_runs_least_is_next_whatever_the_others_have_queued(store: JobStore, queued: Queue) -> None:
    for _ in range(8):
        queued(A, priority=0)
    for tenant in (B, B, C):
        queued(tenant, priority=-5)
    assert Counter(taken(store).lease.tenant for _ in range(6)) == {A: 3, B: 2, C: 1}


def test_one_worker_serves_them_in_turn(store: JobStore, queued: Queue) -> None:
    for tenant in (A, A, A, A, B, B, C):
        queued(tenant)
    order = []
    while (claim := store.claim("w")) is not None:
        order.append(claim.lease.tenant)
        store.finish(claim.lease, SUCCEEDED, None)
    assert sorted(order[:3]) == [A, B, C]
    assert sorted(order[3:5]) == [A, B]
    assert order[5:] == [A, A]


def test_within_a_tenant_priority_goes_before_age(store: JobStore, queued: Queue) -> None:
    older, urgent, newer = queued(A), queued(A, priority=7), queued(A)
    assert [taken(store).lease.job_id for _ in range(3)] == [urgent.id, older.id, newer.id]


def test_a_tenant_at_its_quota_of_running_jobs_waits(store: JobStore, tenants: TenantStore, queued: Queue) -> None:
    tenants.change(A, running_jobs=1)
    for tenant in (A, A, A, B):
        queued(tenant)
    first, second = taken(store), taken(store)
    assert {first.lease.tenant, second.lease.tenant} == {A, B}
    assert store.claim("w") is None, "the others of A wait"
    own = first if first.lease.tenant == A else second
    store.finish(own.lease, SUCCEEDED)
    assert taken(store).lease.tenant == A


def test_a_worker_without_a_sandbox_takes_the_default_tenants_jobs_alone(store: JobStore, queued: Queue) -> None:
    queued(A)
    assert store.claim("w", only_default=True) is None
    own = queue(store, {"model": "acme/bert", "task": "sst2"})
    assert taken(store, only_default=True).lease.job_id == own.id
    assert taken(store).lease.tenant == A


def test_many_workers_at_once_take_no_job_twice(store: JobStore, queued: Queue) -> None:
    for tenant in (A, B, C):
        for _ in range(8):
            queued(tenant)
    with ThreadPoolExecutor(6) as pool:
        claims = list(pool.map(lambda _: taken(store), range(24)))
    assert len({claim.lease.job_id for claim in claims}) == 24
    assert Counter(claim.lease.tenant for claim in claims) == {A: 8, B: 8, C: 8}
    assert store.claim("w") is None


def test_a_tenant_whose_jobs_others_have_in_hand_holds_nobody_up(
    engine: Engine, store: JobStore, queued: Queue
) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("on SQLite one worker claims after the other")
    held, free = queued(A), queued(B)
    with engine.begin() as connection:
        connection.execute(select(jobs.c.id).where(jobs.c.id == held.id).with_for_update())
        assert taken(store).lease.job_id == free.id


def test_many_workers_at_once_keep_to_the_quota(store: JobStore, tenants: TenantStore, queued: Queue) -> None:
    tenants.change(A, running_jobs=2)
    for tenant in (*[A] * 8, B, B):
        queued(tenant)
    with ThreadPoolExecutor(6) as pool:
        claims = [claim for claim in pool.map(lambda _: store.claim("w"), range(12)) if claim is not None]
    assert Counter(claim.lease.tenant for claim in claims) == {A: 2, B: 2}


def test_a_place_in_the_queue_counts_the_tenants_own_jobs(store: JobStore, queued: Queue) -> None:
    for _ in range(3):
        queued(A)
    job = queued(B)
    assert job.progress.queue_position == 1
    places = [found.progress.queue_position for found in store.of(Actor(A)).list()[0]]
    assert places == [3, 2, 1]


def test_another_tenants_job_is_not_there(store: JobStore, queued: Queue) -> None:
    job, other = queued(A, metadata={"k": "v"}), store.of(Actor(B))
    for ask in (other.get, other.cancel, other.events, other.artifact):
        with pytest.raises(LayercutError) as error:
            ask(job.id)
        assert (error.value.code, error.value.message) == ("job_not_found", f"there is no job {job.id!r}")
    assert other.list() == ([], False)
    assert other.list(JobFilter(metadata={"k": "v"})) == ([], False)
    assert other.heads([job.id]) == {}
    assert store.of(Actor(A)).get(job.id) == store.get(job.id) == job


def test_no_more_is_queued_than_the_quota_says(store: JobStore, tenants: TenantStore, queued: Queue) -> None:
    tenants.change(A, queued_jobs=2)
    queued(A), queued(A)
    with pytest.raises(LayercutError, match="2 jobs are queued, and the quota queued_jobs is 2") as error:
        queued(A)
    assert (error.value.code, error.value.headers) == ("quota_exceeded", {"Retry-After": "60"})  # type: ignore[attr-defined]
    queued(B)
    taken(store)
    taken(store)
    queued(A)
    assert tenants.usage(A).model_dump() == {
        "queued_jobs": 2,
        "running_jobs": 1,
        "artifact_bytes": 0,
        "uploads_bytes": 0,
    }


def test_two_jobs_that_come_at_once_do_not_both_take_the_last_place(tenants: TenantStore, queued: Queue) -> None:
    tenants.change(A, queued_jobs=3)

    def attempt(_: int) -> bool:
        try:
            queued(A)
        except LayercutError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 3


def test_files_count_against_the_quota_of_bytes(store: JobStore, tenants: TenantStore, queued: Queue) -> None:
    tenants.change(A, artifact_bytes=1000)
    queued(A)
    store.finish(taken(store).lease, SUCCEEDED, "jobs/x", 1000)
    assert tenants.usage(A).artifact_bytes == 1000
    with pytest.raises(LayercutError, match="take 1000 bytes, and the quota artifact_bytes is 1000"):
        queued(A)


def test_what_one_tenant_made_another_does_not_find(engine: Engine, store: JobStore, queued: Queue) -> None:
    cache, fingerprint = CacheStore(engine), "f" * 64
    a, b = (queued(tenant) and taken(store).lease for tenant in (A, B))
    own = cache.take(a, "baseline", fingerprint)
    assert isinstance(own, Make)
    others = cache.take(b, "baseline", fingerprint)
    assert isinstance(others, Make), "it waits for nobody else's either"
    assert cache.made(a, fingerprint, seconds=1.0, size=10)
    assert cache.find(fingerprint, tenant=A, pool=A) == Have(own.prefix, 1.0, a.job_id)
    assert cache.find(fingerprint, tenant=B, pool=B) is None
    assert cache.find(fingerprint) is None
    cache.abandon(b, fingerprint, others.prefix)
    assert cache.find(fingerprint, tenant=A, pool=A) is not None
    assert cache.evict(0) == [others.prefix, own.prefix]


def test_those_that_share_find_it_and_are_told_no_job(
    engine: Engine, store: JobStore, tenants: TenantStore, queued: Queue
) -> None:
    for tenant in (A, B):
        tenants.change(tenant, shared_baselines=True)
    cache, fingerprint = CacheStore(engine), "f" * 64
    a, b, c = (queued(tenant) and taken(store).lease for tenant in (A, B, C))
    made = cache.take(a, "baseline", fingerprint)
    assert isinstance(made, Make)
    assert cache.take(b, "baseline", fingerprint) == Wait(None)
    assert isinstance(cache.take(c, "baseline", fingerprint), Make)
    assert cache.made(a, fingerprint, seconds=1.0, size=10)
    assert cache.take(b, "baseline", fingerprint) == Have(made.prefix, 1.0, None)
    assert cache.take(a, "baseline", fingerprint) == Have(made.prefix, 1.0, a.job_id)
    assert cache.find(fingerprint, tenant=B, pool=SHARED_POOL) == Have(made.prefix, 1.0, None)


def test_the_audit_log_says_who_did_what(engine: Engine, store: JobStore, tenants: TenantStore) -> None:
    actor = Actor(A, "lc_00000000", "request-1", "192.0.2.1")
    own = store.of(actor)
    job = queue(own, {"model": "acme/bert", "task": "sst2"})
    own.cancel(job.id)
    own.cancel(job.id)
    log = AuditLog(engine)
    lines, more = log.page(A, limit=2)
    assert [(line.action, line.target, line.key_id, line.request_id, line.address) for line in lines] == [
        (action, job.id, actor.key_id, "request-1", "192.0.2.1") for action in ("job.cancel", "job.create")
    ]
    assert more
    older, _ = log.page(A, before=lines[-1].number)
    assert [line.action for line in older] == ["tenant.create"]
    assert log.page(B)[0][0].target == B
    log.trim(-1)
    assert log.page(None) == ([], False)


@pytest.mark.parametrize("name", ["", "Team", "team a", "-a", "a" * 64, "+shared"])
def test_what_cannot_be_a_tenant(engine: Engine, name: str) -> None:
    with pytest.raises(LayercutError, match="lower case letters, digits and -"):
        TenantStore(engine).create(name, "x", Quotas())


def test_an_unknown_tenant_is_answered_with_the_near_ones(tenants: TenantStore) -> None:
    with pytest.raises(LayercutError, match="no tenant 'team-aa'; known: team-a"):
        tenants.change("team-aa", queued_jobs=1)
    with pytest.raises(LayercutError, match="there is a tenant 'team-a' already"):
        tenants.create(A, A, Quotas())
