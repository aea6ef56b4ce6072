"""What the gateway reads from the environment: prefix ``LAYERCUT_``, all of it listed in ``deploy/env.example``."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from sources.settings import Names, SourceSettings
from store.settings import StoreSettings


def _root_path(text: str) -> str:
    """Without the slash at its end. What could be taken for another host, or needs escapes, is none."""
    path = text.rstrip("/")
    if path and not re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+", path):
        raise ValueError(f"a root path is as in /layercut or /ml/layercut, not {text[:80]!r}")
    return path


class GatewaySettings(StoreSettings, SourceSettings):
    """The gateway's own values beside those of the store and the sources. Times are in seconds."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    auth: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="whether a key is needed; auto: where others than this machine can reach the gateway",
    )
    audit_days: float = Field(default=365.0, gt=0, description="older lines of the audit log are deleted")
    log_level: str = "INFO"
    max_body_bytes: int = Field(default=1024 * 1024, gt=0, description="a larger JSON body is answered with 413")
    feed_seconds: float = Field(default=0.5, gt=0, description="how often the store is asked what is new")
    sse_heartbeat_seconds: float = Field(default=15.0, gt=0)
    reap_seconds: float = Field(default=10.0, gt=0, description="how often expired leases are looked for")
    wake_again_seconds: float = Field(
        default=30.0, gt=0, description="a job queued this long since its last wake-up is announced again"
    )
    sweep_after_seconds: float = Field(
        default=600.0, gt=0, description="files of attempts that came to nothing go this long after the job's end"
    )
    allowed_hosts: Names = Field(
        default=[], description="names that the gateway is called by, beside localhost and addresses; * for any"
    )
    allowed_origins: Names = Field(default=[], description="origins whose pages may call, as https://app.example.org")
    trusted_proxies: Names = Field(
        default=[], description="addresses and networks whose X-Forwarded-For and X-Forwarded-Proto are believed"
    )
    root_path: Annotated[str, AfterValidator(_root_path)] = Field(
        default="", description="the prefix that a proxy serves the gateway below, as /layercut; it may strip it or not"
    )
    max_connections: int = Field(default=2048, ge=16, description="open connections in all")
    max_connections_per_address: int = Field(default=512, ge=0, description="of one address, loopback aside; 0: any")
    head_seconds: float = Field(default=10.0, gt=0, description="how long the head of a request may take")
    body_seconds: float = Field(default=60.0, gt=0, description="how long a body may take")
    stall_seconds: float = Field(default=15.0, gt=0, description="without a byte of a body sent, or of an answer read")
    idle_seconds: float = Field(default=15.0, gt=0, description="how long a connection may wait for its next request")
    max_headers: int = Field(default=100, ge=10)
    max_header_bytes: int = Field(default=16 * 1024, ge=1024, description="of the whole head of a request")
    admission_threads: int = Field(default=4, ge=1, description="requests that look into models and data at a time")
    admission_seconds: float = Field(default=120.0, gt=0, description="how long such a look may wait and take")
    admission_queue: int = Field(default=256, ge=1, description="that wait for it; then 503 and Retry-After")
    admission_queue_per_tenant: int = Field(default=64, ge=1, description="of one tenant; then 429 and Retry-After")
    source_seconds: float = Field(
        default=5.0, gt=0, description="how long an object store with a model or dataset may keep a request waiting"
    )
    look_bytes: int = Field(
        default=2**30, ge=2**24, description="of a larger table, uploaded or in an object store, POST reads a part"
    )
    fetched_bytes: int = Field(
        default=10 * 2**30, ge=2**24, description="of data of uploads and object stores, fetched to be looked at"
    )
    max_epochs: float = Field(default=1000.0, gt=0, description="of one training")
    max_seeds: int = Field(default=10, ge=1, description="to train and score with")
    max_latency_tokens: int = Field(
        default=1024 * 512, ge=1, description="batch size times sequence length of one measurement of speed"
    )
    max_queue_seconds: int = Field(default=30 * 24 * 3600, ge=1, description="how long a job may wait")
    max_layers: int = Field(default=1024, ge=1, description="of a model")
    event_days: float = Field(default=365.0, ge=0, description="row and events of a job without files; 0: for ever")
    log_days: float = Field(default=30.0, ge=0, description="an ended job's log; 0: for ever")
    idempotency_hours: float = Field(default=24.0, gt=0, description="how long an Idempotency-Key is remembered")
    secret_key: str = Field(
        default="", repr=False, description="what webhooks' secrets are derived from; empty: a file in data_dir"
    )
    webhook_hosts: Names = Field(
        default=[], description="hosts with private addresses that webhooks may name, beside all public ones"
    )
    webhook_plain_http: bool = Field(default=False, description="webhooks may name http:// addresses too")
    webhook_seconds: float = Field(default=15.0, gt=0, description="how long an endpoint may take to answer")
    webhook_days: float = Field(default=30.0, gt=0, description="deliveries that are over are shown so long")
    metrics: bool = Field(default=True, description="whether GET /metrics answers")
    accel_redirect: str = Field(
        default="", description="internal address of a proxy (nginx) that sends the files itself, by X-Accel-Redirect"
    )
    presigned_seconds: int = Field(
        default=0, ge=0, description="files in an object store are sent by it, at addresses valid so long; 0: by us"
    )
    presigned_endpoint: str = Field(
        default="", description="where callers reach the object store, if they reach it elsewhere than we do"
    )
    upload_bytes: int = Field(default=64 * 2**30, ge=1, description="of one upload, all its files together")
    upload_days: float = Field(
        default=30.0, ge=0, description="an upload is kept so long from its last use; 0: for ever"
    )
    upload_unfinished_hours: float = Field(
        default=24.0, gt=0, description="an upload to which nothing more is sent is kept so long"
    )
    uploads_at_once: int = Field(default=16, ge=1, description="that are received or put together; then 503, or 429")
    max_queued_jobs: int = Field(default=10_000, ge=1, description="that wait, all together; then 429 and Retry-After")
    max_study_cells: int = Field(default=5000, ge=1, description="of one study")
    study_window: int = Field(default=100, ge=1, description="jobs of one study that wait in the queue at a time")
    study_seconds: float = Field(default=1.0, gt=0, description="how often jobs of studies are queued")
