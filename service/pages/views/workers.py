"""Who computes, and what the tenant may use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from api_schemas.ceilings import CeilingInfo
from api_schemas.tenants import Quotas, TenantUsage
from api_schemas.workers import Activity, WorkerInfo
from service.pages.views.states import Word
from service.pages.words import NOTHING, size

ACTIVITIES: dict[Activity, Word] = {
    "busy": Word("Busy", "active", "half", "It has a job."),
    "idle": Word("Idle", "good", "hollow", "It waits for a job."),
    "paused": Word("Paused", "waiting", "bar", "It takes no jobs."),
    "draining": Word("Stopping", "quiet", "bar", "It was told to stop, and takes no more jobs."),
}


@dataclass(frozen=True)
class WorkerRow:
    name: str
    state: Word
    why: str | None
    device: str
    memory: str | None
    job_id: str | None
    path: str | None
    progress_at: datetime | None
    started_at: datetime
    seen_at: datetime
    sandbox: Word
    open_measures: list[str]
    formats: list[str]
    version: str


@dataclass(frozen=True)
class UsageLine:
    """``share`` is of the quota; None where there is none."""

    name: str
    used: str
    quota: str
    share: float | None


@dataclass(frozen=True)
class WorkersView:
    rows: list[WorkerRow]
    busy: int
    usage: list[UsageLine]
    queued: int
    running: int
    ceilings: list[CeilingInfo]


def workers_view(
    workers: list[WorkerInfo], quotas: Quotas, usage: TenantUsage, ceilings: list[CeilingInfo]
) -> WorkersView:
    rows = [_row(one) for one in workers]
    return WorkersView(
        rows=rows,
        busy=sum(one.state == "busy" for one in workers),
        usage=list(_usage(quotas, usage)),
        queued=usage.queued_jobs,
        running=usage.running_jobs,
        ceilings=ceilings,
    )


def _row(worker: WorkerInfo) -> WorkerRow:
    about = worker.about
    device = NOTHING if about is None else about.gpu_name or about.device.upper()
    return WorkerRow(
        name=worker.name,
        state=ACTIVITIES[worker.state],
        why=worker.paused_reason,
        device=device,
        memory=size(about.gpu_memory_bytes) if about and about.gpu_memory_bytes else None,
        job_id=worker.job_id,
        path=f"/ui/jobs/{worker.job_id}" if worker.job_id else None,
        progress_at=worker.progress_at,
        started_at=worker.started_at,
        seen_at=worker.seen_at,
        sandbox=_sandbox(complete=worker.sandbox.complete),
        open_measures=[f"{one.name}: {one.detail}" for one in worker.sandbox.measures if not one.on],
        formats=(about.formats or []) if about else [],
        version=about.version if about else NOTHING,
    )


def _sandbox(*, complete: bool) -> Word:
    if complete:
        return Word("Locked in", "good", "check", "Its runners reach no file and no network but their own.")
    return Word("Not locked in", "waiting", "down", "It does jobs of the default tenant alone.")


def _usage(quotas: Quotas, usage: TenantUsage) -> list[UsageLine]:
    def line(name: str, used: float, quota: float | None, shown: list[str]) -> UsageLine:
        return UsageLine(name, shown[0], shown[1] if quota is not None else "no limit", _share(used, quota))

    def counted(name: str, used: int, quota: int | None) -> UsageLine:
        return line(name, used, quota, [f"{used:,}", f"of {quota:,}" if quota is not None else ""])

    rate = quotas.requests_per_minute
    return [
        counted("Jobs that wait", usage.queued_jobs, quotas.queued_jobs),
        counted("Jobs that run", usage.running_jobs, quotas.running_jobs),
        line(
            "Files of jobs and uploads", usage.artifact_bytes, quotas.artifact_bytes,
            [size(usage.artifact_bytes), f"of {size(quotas.artifact_bytes)}"],
        ),
        UsageLine("Requests a minute", "", f"{rate:,} at most" if rate is not None else "no limit", None),
    ]  # fmt: skip


def _share(used: float, quota: float | None) -> float | None:
    if quota is None:
        return None
    return min(1.0, used / quota) if quota else 1.0
