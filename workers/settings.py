"""What a worker reads from the environment: prefix ``LAYERCUT_``, all of it listed in ``deploy/env.example``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from sources.settings import Roots, SourceSettings
from store.settings import StoreSettings


class WorkerSettings(StoreSettings, SourceSettings):
    """The worker's own values beside those of the store and the sources. Times are in seconds."""

    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:<n> or a GPU's UUID; one worker a GPU")
    cpu_engine: Literal["auto", "off"] = Field(default="auto", description="off: training with the stock modules")
    heartbeat_seconds: float = Field(default=0.0, ge=0, description="how often a lease is renewed; 0: a quarter of it")
    checkpoint_seconds: float = Field(default=300.0, ge=0, description="how often a training's state is kept")
    kill_grace_seconds: float = Field(default=10.0, ge=0, description="between SIGTERM and SIGKILL of a runner")
    log_level: str = "INFO"
    copy_bytes: int = Field(
        default=256 * 2**20,
        ge=0,
        description="larger files of a job are handed to its runner open, not copied",
    )
    no_progress_seconds: float = Field(
        default=1800.0, gt=0, description="an attempt that gets no further for so long is stopped, and lost"
    )
    poll_seconds: float = Field(
        default=15.0, gt=0, description="how often a worker without a job looks for one that the broker did not tell of"
    )
    idle_exit_seconds: float = Field(
        default=0.0, ge=0, description="a worker that found no job for so long ends, with exit code 0; 0: never"
    )
    worker_host: str = Field(default="127.0.0.1", description="where the worker's health and metrics are answered")
    worker_port: int = Field(default=0, ge=0, le=65535, description="0: nowhere")
    sandbox: Literal["auto", "required", "off"] = Field(
        default="auto", description="required: refuse to start where files and network cannot be shut for runners"
    )
    allow_unconfined: bool = Field(default=False, description="do all tenants' jobs where runners cannot be locked in")
    runner_uid: int | None = Field(
        default=None, ge=0, description="where the worker is root; by default a number of its own, 0: root"
    )
    runner_memory_bytes: int = Field(default=0, ge=0, description="of each process of a runner; 0: what the host has")
    runner_file_bytes: int = Field(default=2**39, gt=0, description="a runner writes no larger file")
    artifact_bytes: int = Field(default=2**40, gt=0, description="the files of a job, without their tar, have no more")
    runner_processes: int = Field(default=4096, gt=0, description="of a runner, threads counted")
    runner_open_files: int = Field(default=4096, gt=0)
    cache_wait_seconds: float = Field(
        default=7200.0,
        ge=0,
        description="how long an attempt waits, in all, for things of the cache that other tenants' jobs are making",
    )
    verify_with: Roots = Field(
        default=[],
        description="`:`-separated folders with transformers of other versions, as `pip install --target` makes them:"
        " what is delivered is proved with these, too",
    )
    mlflow_tracking_uri: str = Field(
        default="", repr=False, description="server that each job is a run of, as http://mlflow:5000; empty: none"
    )
    mlflow_experiment: str = Field(default="layercut", description="{tenant} in it is the job's")
    wandb_project: str = Field(default="", description="that each job is a run of, {tenant} too; empty: none")
    wandb_entity: str = Field(default="", description="whose project that is; empty: the key's own")
    public_url: str = Field(default="", description="what people call the gateway by: links in runs begin with it")
    scratch_dir: Path | None = Field(default=None, description="for files of running jobs; by default in data_dir")

    @field_validator("verify_with")
    @classmethod
    def _have_transformers(cls, folders: list[Path]) -> list[Path]:
        for folder in folders:
            if not (folder / "transformers" / "__init__.py").is_file():
                raise ValueError(f"LAYERCUT_VERIFY_WITH names {folder}, and there is no transformers in it")
        return folders

    @model_validator(mode="after")
    def _renew_in_time(self) -> WorkerSettings:
        self.heartbeat_seconds = self.heartbeat_seconds or self.lease_seconds / 4
        if self.heartbeat_seconds >= self.lease_seconds / 2:
            raise ValueError(
                f"LAYERCUT_HEARTBEAT_SECONDS ({self.heartbeat_seconds:g}) must be less than half of"
                f" LAYERCUT_LEASE_SECONDS ({self.lease_seconds:g}), so that one lost beat does not lose the job"
            )
        return self

    @property
    def leave_seconds(self) -> float:
        """From SIGTERM until the running job is handed back, at most: three times the grace, and what the database and
        the broker take. The runner's last checkpoint, then what it made for the cache, then the checkpoint's upload.
        """
        return 3 * self.kill_grace_seconds + 30

    @property
    def checkpoint_root(self) -> Path:
        """Folders of jobs that have not ended, by id."""
        return self.data_dir / "checkpoints"

    @property
    def micro_batches(self) -> Path:
        """What is known of the memory that trainings need."""
        return self.data_dir / "micro_batches.json"

    @property
    def memory_root(self) -> Path:
        """What a worker's jobs have learnt of it, by the pool of the cache that they share."""
        return self.data_dir / "memory"

    @property
    def scratch_root(self) -> Path:
        return (self.scratch_dir or self.data_dir / "scratch").expanduser().absolute()
