"""What the gateway reads from the environment: prefix ``LAYERCUT_``, all of it listed in ``deploy/env.example``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sources.settings import SourceSettings
from store.settings import StoreSettings


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
