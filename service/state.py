"""What the routes work with, opened when the application starts and found through one dependency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Engine

from service.edge.admission_pool import AdmissionPool
from service.feed import Feed
from service.known_importance import KnownImportance
from service.settings import GatewaySettings
from service.wakeups import WakeUps
from store.artifacts import ArtifactStore
from store.cache import CacheStore
from store.database import migrate, open_engine
from store.jobs import JobStore


@dataclass(frozen=True)
class GatewayState:
    settings: GatewaySettings
    engine: Engine
    store: JobStore
    cache: CacheStore
    artifacts: ArtifactStore
    importance: KnownImportance
    wakeups: WakeUps
    feed: Feed
    admissions: AdmissionPool


def open_state(settings: GatewaySettings) -> GatewayState:
    """Open the database (made or brought up to date where needed), the artifacts and the broker's sender."""
    engine = open_engine(settings.database_url)
    migrate(engine)
    store = JobStore(engine, lease_seconds=settings.lease_seconds)
    cache, artifacts = CacheStore(engine), ArtifactStore(settings.artifacts_url)
    return GatewayState(
        settings=settings,
        engine=engine,
        store=store,
        cache=cache,
        artifacts=artifacts,
        importance=KnownImportance(settings, cache, artifacts, settings.data_dir / "hashes"),
        wakeups=WakeUps(settings.broker_url),
        feed=Feed(store, settings.feed_seconds),
        admissions=AdmissionPool(settings.admission_threads, settings.admission_seconds),
    )


# async, so that it costs no trip through the thread pool
async def _state(request: Request) -> GatewayState:
    state: GatewayState = request.app.state.gateway
    return state


State = Annotated[GatewayState, Depends(_state)]
