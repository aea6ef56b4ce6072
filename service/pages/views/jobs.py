"""The list of jobs: a row each, and the filters that it was asked with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from api_schemas.jobs import Job, Status
from service.pages.views.states import OUTCOMES, STATUSES, Word

#: Of a name in a table, in characters.
LONGEST = 60


@dataclass(frozen=True)
class JobRow:
    id: str
    path: str
    status: Word
    model: str
    task: str
    strategy: str
    layers: str
    fraction: float | None
    eta_seconds: float | None
    position: int | None
    stage: str | None
    outcome: Word | None
    verdict: str
    bytes_before: int | None
    bytes_after: int | None
    score_before: float | None
    score_after: float | None
    metric: str | None
    created_at: datetime
    error: str | None


def job_row(job: Job) -> JobRow:
    result, running = job.result, job.status.active
    return JobRow(
        id=job.id,
        path=f"/ui/jobs/{job.id}",
        status=STATUSES[job.status],
        model=shortened(model_name(job.model)),
        task=shortened(job.task.rpartition("/")[2] or job.task),
        strategy=strategy_of(job),
        layers=layers_of(job),
        fraction=job.progress.fraction if running else None,
        eta_seconds=job.progress.eta_seconds if running else None,
        position=job.progress.queue_position,
        stage=job.stage.value if job.stage and running else None,
        outcome=OUTCOMES[result.outcome] if result and result.outcome else None,
        verdict=result.verdict if result else "",
        bytes_before=result.bytes_before if result else None,
        bytes_after=result.bytes_after if result else None,
        score_before=result.score_before if result else None,
        score_after=result.score_after if result else None,
        metric=result.metric if result else None,
        created_at=job.created_at,
        error=job.error.message if job.error else None,
    )


def model_name(model: str) -> str:
    """Of a path its last two parts: what lies before says nothing here."""
    parts = model.rstrip("/").split("/")
    return "/".join(parts[-2:]) if model.startswith(("/", "./", "~")) else model


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def strategy_of(job: Job) -> str:
    if job.resolved is not None:
        return job.resolved.prune.strategy
    asked = job.request.get("prune")
    return str(asked.get("strategy", "")) if isinstance(asked, dict) else str(asked or "")


def layers_of(job: Job) -> str:
    """As in ``12 → 8``; empty while that is not known."""
    if job.result is not None:
        return f"{job.result.layers_total} → {len(job.result.layers_kept)}"
    plan = job.resolved.plan if job.resolved else None
    return f"{plan.layers_total} → {len(plan.kept)}" if plan and plan.kept is not None else ""


@dataclass(frozen=True)
class Filters:
    """As they stand in the address; ``metadata`` is ``key=value``."""

    status: str = ""
    task: str = ""
    model: str = ""
    metadata: str = ""
    after: str = ""

    @property
    def statuses(self) -> list[Status]:
        return [Status(self.status)] if self.status else []

    @property
    def pairs(self) -> dict[str, str]:
        key, equals, value = self.metadata.partition("=")
        return {key.strip(): value.strip()} if equals and key.strip() else {}

    @property
    def any(self) -> bool:
        return any((self.status, self.task, self.model, self.metadata))

    def address(self, **changed: str) -> str:
        """The list with these filters, as a path here."""
        asked = {**self._as_dict(), **changed}
        query = urlencode({name: value for name, value in asked.items() if value})
        return f"/?{query}" if query else "/"

    def _as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("status", "task", "model", "metadata", "after")}


@dataclass(frozen=True)
class JobsView:
    rows: list[JobRow]
    filters: Filters
    following: str | None
    #: Whether anything on it may change by itself.
    live: bool
    statuses: list[tuple[str, str]]


def jobs_view(jobs: list[Job], filters: Filters, *, has_more: bool) -> JobsView:
    return JobsView(
        rows=[job_row(job) for job in jobs],
        filters=filters,
        following=filters.address(after=jobs[-1].id) if jobs and has_more else None,
        live=any(not job.status.terminal for job in jobs),
        statuses=[(status.value, word.text) for status, word in STATUSES.items()],
    )
