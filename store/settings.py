"""Where layercut keeps its things: three URLs, each with a default under one folder."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from api_schemas.tenants import Quotas


class StoreSettings(BaseSettings):
    """Read from the environment, prefix ``LAYERCUT_``. URLs may hold passwords: they are never shown."""

    model_config = SettingsConfigDict(env_prefix="LAYERCUT_", env_ignore_empty=True, extra="ignore")

    data_dir: Path = Field(default=Path("~/.layercut"), description="what the three URLs default to lies in here")
    database_url: str = Field(default="", repr=False, description="sqlite:/// or postgresql://")
    broker_url: str = Field(default="", repr=False, description="filesystem://, redis:// or amqp://")
    artifacts_url: str = Field(default="", repr=False, description="file:// or s3://, gs://, az://")
    database_seconds: float = Field(
        default=2.0, gt=0, description="the database has so long to connect, to answer, and to free a connection"
    )
    min_free_bytes: int = Field(
        default=2**30, ge=0, description="with less room on a disk of ours no job is taken, and none is claimed"
    )
    artifact_days: float = Field(default=30.0, ge=0, description="files of ended jobs are kept so long; 0: for ever")
    checkpoint_days: float = Field(default=7.0, ge=0, description="of failed and cancelled jobs, for a retry")
    log_bytes: int = Field(default=8 * 2**20, ge=0, description="of one job's log; the oldest lines go first")
    lease_seconds: float = Field(default=60.0, gt=0, description="a worker silent for this long has lost its job")
    retry_seconds: float = Field(
        default=10.0, ge=0, description="a lost attempt's job waits so long, then twice as long, up to ten minutes"
    )
    cache_bytes: int = Field(
        default=20 * 2**30, ge=0, description="baselines and the like, kept to be used again, take no more than this"
    )
    max_runtime_seconds: int = Field(default=7 * 24 * 3600, ge=1, description="how long an attempt at a job may run")
    tenant_queued_jobs: int = Field(default=100, ge=0, description="of a new tenant; 0: no limit, as of the others")
    tenant_running_jobs: int = Field(default=0, ge=0)
    tenant_artifact_bytes: int = Field(default=100 * 2**30, ge=0)
    tenant_requests_per_minute: int = Field(default=600, ge=0)

    @property
    def tenant_quotas(self) -> Quotas:
        """What a new tenant is given."""
        return Quotas(**{name: getattr(self, f"tenant_{name}") or None for name in Quotas.model_fields})

    @model_validator(mode="after")
    def _fill_in(self) -> StoreSettings:
        self.data_dir = self.data_dir.expanduser().absolute()
        folder = self.data_dir.as_uri().removeprefix("file://")
        self.database_url = self.database_url or f"sqlite:///{self.data_dir}/layercut.db"
        self.broker_url = self.broker_url or f"filesystem://{folder}/broker"
        self.artifacts_url = self.artifacts_url or f"file://{folder}/artifacts"
        return self
