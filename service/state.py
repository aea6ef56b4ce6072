"""What the routes work with, opened when the application starts and found through one dependency."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Annotated

import structlog
from fastapi import Depends, Request
from sqlalchemy import Engine

from service.authentication import Authenticator
from service.drawing_room import DrawingRoom
from service.earlier_jobs import EarlierJobs
from service.edge.admission_pool import AdmissionLimits, AdmissionPool
from service.edge.liveness import Liveness
from service.feed import Feed
from service.job_reads import JobReads
from service.known_importance import KnownImportance
from service.listening import needs_key
from service.named_sources import NamedSources
from service.pages.sessions import Sessions
from service.rates import Rates
from service.readiness import Probes, open_probes
from service.settings import GatewaySettings
from service.studies.kept_admitters import KeptAdmitters
from service.studies.kept_texts import KeptTexts
from service.uploads.named import NamedUploads
from service.uploads.slots import Slots
from service.uploads.stores import Stores
from service.version import VERSION
from service.wakeups import WakeUps
from service.webhooks.deliverer import Deliverer
from service.webhooks.sender import Sender
from service.webhooks.signing import Signer
from sources.fetched import FetchedFiles
from sources.fingerprint import FileHashes
from sources.hub_client import guard_client
from sources.objects.buckets import Buckets
from sources.tables.bounds import LOOK_SECONDS
from store.artifacts import ArtifactStore
from store.audit import Actor, AuditLog
from store.cache import CacheStore
from store.database import migrate_when_there, open_engine
from store.deliveries import DeliveryStore
from store.disk_space import artifacts_folder
from store.first_folder import make_folder_once
from store.idempotency import IdempotencyStore
from store.jobs import JobStore, Reaped
from store.keys import KeyStore
from store.object_clients import open_store
from store.object_errors import fault_of
from store.retention import RetentionStore
from store.stored_uploads import UploadStore
from store.studies import StudyStore
from store.tenants import TenantStore
from store.upload_retention import UploadRetention
from store.webhooks import WebhookStore
from store.workers import WorkerStore
from telemetry.gateway_metrics import GatewayMetrics
from telemetry.tracing import Tracing

log = structlog.get_logger("layercut.state")

#: An Idempotency-Key of which no gateway says that its request is under way is free after two rounds and so long.
HELD_LONGER_SECONDS = 30.0


@dataclass(frozen=True)
class GatewayState:
    settings: GatewaySettings
    engine: Engine
    store: JobStore
    retention: RetentionStore
    idempotency: IdempotencyStore
    workers: WorkerStore
    cache: CacheStore
    artifacts: ArtifactStore
    uploads: UploadStore
    upload_retention: UploadRetention
    upload_stores: Stores
    upload_slots: Slots
    #: Of models and data that requests name.
    buckets: Buckets
    fetched: FetchedFiles
    importance: KnownImportance
    #: Of files of models and data.
    hashes: FileHashes
    studies: StudyStore
    kept_texts: KeptTexts
    admitters: KeptAdmitters
    wakeups: WakeUps
    feed: Feed
    reads: JobReads
    admissions: AdmissionPool
    drawing_room: DrawingRoom
    keys: KeyStore
    tenants: TenantStore
    audit: AuditLog
    authenticator: Authenticator
    #: Of requests, by tenant.
    rates: Rates
    liveness: Liveness
    probes: Probes
    webhooks: WebhookStore
    deliveries: DeliveryStore
    signer: Signer
    #: Of browsers that are logged in.
    sessions: Sessions
    deliverer: Deliverer
    metrics: GatewayMetrics
    tracing: Tracing

    def named_sources(self, actor: Actor) -> NamedSources:
        """What a request of ``actor`` may name of earlier jobs, uploads and object stores."""
        earlier = EarlierJobs(self.store.of(actor), self.artifacts, self.settings)
        return NamedSources(
            self.settings, earlier, NamedUploads(self.uploads.of(actor), self.artifacts), self.buckets, self.fetched
        )


def new_metrics() -> GatewayMetrics:
    """Of this process."""
    return GatewayMetrics(VERSION, (field.name for field in fields(Reaped)))


def open_state(
    settings: GatewaySettings, metrics: GatewayMetrics | None = None, tracing: Tracing | None = None
) -> GatewayState:
    """Open the database (made or brought up to date where needed), the artifacts and the broker's sender."""
    metrics = metrics or new_metrics()
    guard_client(settings.hub_hosts)
    engine = open_engine(settings.database_url, settings.database_seconds)
    migrate_when_there(engine, lambda sentence: log.warning("database_away", reason=sentence))
    make_folder_once(
        engine,
        artifacts_folder(settings.artifacts_url),
        lambda sentence: log.warning("artifacts_away", reason=sentence),
    )
    store, workers = _jobs(engine, settings), WorkerStore(engine)
    cache = CacheStore(engine)
    artifacts = ArtifactStore(
        settings.artifacts_url, settings.database_seconds, mkdir=False, presigned_endpoint=settings.presigned_endpoint
    )
    wakeups = WakeUps(settings.broker_url, metrics.count_wakeups)
    uploads = UploadStore(engine, days=settings.upload_days, unfinished_hours=settings.upload_unfinished_hours)
    keys, required = KeyStore(engine), needs_key(settings)
    deliveries, signer = DeliveryStore(engine), Signer(settings)
    hashes = FileHashes(settings.data_dir / "hashes")
    return GatewayState(
        settings=settings,
        engine=engine,
        store=store,
        retention=RetentionStore(engine),
        idempotency=IdempotencyStore(
            engine, hours=settings.idempotency_hours, hold_seconds=2 * settings.reap_seconds + HELD_LONGER_SECONDS
        ),
        workers=workers,
        cache=cache,
        artifacts=artifacts,
        uploads=uploads,
        upload_retention=UploadRetention(engine),
        upload_stores=Stores(uploads, ArtifactStore(settings.artifacts_url, mkdir=False), settings),
        upload_slots=Slots(settings.uploads_at_once, one_tenant=not required),
        buckets=Buckets(partial(open_store, seconds=settings.source_seconds, whole_seconds=LOOK_SECONDS), fault_of),
        fetched=FetchedFiles(settings.data_dir / "fetched", settings.fetched_bytes),
        importance=KnownImportance(cache, artifacts, hashes),
        hashes=hashes,
        studies=StudyStore(engine),
        kept_texts=KeptTexts(),
        admitters=KeptAdmitters(),
        wakeups=wakeups,
        feed=Feed(store, settings.feed_seconds),
        reads=JobReads(store),
        admissions=AdmissionPool(
            AdmissionLimits(
                threads=settings.admission_threads,
                seconds=settings.admission_seconds,
                waiting=settings.admission_queue,
                waiting_per_tenant=settings.admission_queue_per_tenant,
                one_tenant=not required,
            )
        ),
        drawing_room=DrawingRoom(),
        keys=keys,
        tenants=TenantStore(engine),
        audit=AuditLog(engine),
        authenticator=Authenticator(keys, required=required),
        rates=Rates(),
        liveness=Liveness(),
        probes=open_probes(settings, engine, workers, artifacts, wakeups),
        webhooks=WebhookStore(engine),
        deliveries=deliveries,
        signer=signer,
        sessions=Sessions(signer),
        deliverer=Deliverer(settings, deliveries, signer, Sender(settings, signer), metrics),
        metrics=metrics,
        tracing=tracing or Tracing("layercut-gateway", VERSION),
    )


def open_for_upkeep(state: GatewayState) -> GatewayState:
    """``state`` on connections of its own, whose calls may take longer: nobody waits for them. Close its engine too."""
    engine = open_engine(state.settings.database_url)
    return replace(
        state,
        engine=engine,
        store=_jobs(engine, state.settings),
        studies=StudyStore(engine),
        retention=RetentionStore(engine),
        upload_retention=UploadRetention(engine),
        cache=CacheStore(engine),
        artifacts=ArtifactStore(state.settings.artifacts_url, mkdir=False),
        audit=AuditLog(engine),
    )


def _jobs(engine: Engine, settings: GatewaySettings) -> JobStore:
    return JobStore(
        engine, settings.lease_seconds, retry_seconds=settings.retry_seconds, artifact_days=settings.artifact_days
    )


# async, so that it costs no trip through the thread pool
async def _state(request: Request) -> GatewayState:
    state: GatewayState = request.app.state.gateway
    return state


State = Annotated[GatewayState, Depends(_state)]
