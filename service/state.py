"""What the routes work with, opened when the application starts and found through one dependency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Engine

from service.authentication import Authenticator
from service.edge.admission_pool import AdmissionLimits, AdmissionPool
from service.feed import Feed
from service.known_importance import KnownImportance
from service.listening import needs_key
from service.rates import Rates
from service.settings import GatewaySettings
from service.wakeups import WakeUps
from sources.fingerprint import FileHashes
from sources.hub_client import guard_client
from store.artifacts import ArtifactStore
from store.audit import AuditLog
from store.cache import CacheStore
from store.database import migrate, open_engine
from store.jobs import JobStore
from store.keys import KeyStore
from store.tenants import TenantStore
from store.workers import WorkerStore


@dataclass(frozen=True)
class GatewayState:
    settings: GatewaySettings
    engine: Engine
    store: JobStore
    workers: WorkerStore
    cache: CacheStore
    artifacts: ArtifactStore
    importance: KnownImportance
    wakeups: WakeUps
    feed: Feed
    admissions: AdmissionPool
    keys: KeyStore
    tenants: TenantStore
    audit: AuditLog
    authenticator: Authenticator
    #: Of requests, by tenant.
    rates: Rates


def open_state(settings: GatewaySettings) -> GatewayState:
    """Open the database (made or brought up to date where needed), the artifacts and the broker's sender."""
    guard_client(settings.hub_hosts)
    engine = open_engine(settings.database_url)
    migrate(engine)
    store = JobStore(engine, lease_seconds=settings.lease_seconds, retry_seconds=settings.retry_seconds)
    cache, artifacts = CacheStore(engine), ArtifactStore(settings.artifacts_url)
    keys, required = KeyStore(engine), needs_key(settings)
    return GatewayState(
        settings=settings,
        engine=engine,
        store=store,
        workers=WorkerStore(engine),
        cache=cache,
        artifacts=artifacts,
        importance=KnownImportance(settings, cache, artifacts, FileHashes(settings.data_dir / "hashes")),
        wakeups=WakeUps(settings.broker_url),
        feed=Feed(store, settings.feed_seconds),
        admissions=AdmissionPool(
            AdmissionLimits(
                threads=settings.admission_threads,
                seconds=settings.admission_seconds,
                waiting=settings.admission_queue,
                waiting_per_tenant=settings.admission_queue_per_tenant,
                one_tenant=not required,
            )
        ),
        keys=keys,
        tenants=TenantStore(engine),
        audit=AuditLog(engine),
        authenticator=Authenticator(keys, required=required),
        rates=Rates(),
    )


# async, so that it costs no trip through the thread pool
async def _state(request: Request) -> GatewayState:
    state: GatewayState = request.app.state.gateway
    return state


State = Annotated[GatewayState, Depends(_state)]
