"""One job's page: where it stands, what came of it, what it leaves, and how to have it once more."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api_schemas.errors import ERRORS, JobError
from api_schemas.events import Event, StageEvent
from api_schemas.jobs import FileInfo, Job, Stage, Status
from api_schemas.reports import Outcome, Report
from service.pages.views.comparison import LayerMark, Line, comparison, layer_marks
from service.pages.views.jobs import layers_of, model_name, strategy_of
from service.pages.views.states import OUTCOMES, STAGES, STATUSES, Word
from service.pages.words import pretty

#: What a person may do about an error of a job; where nothing stands, its message has to do.
ADVICE = {
    "out_of_memory": "Ask for a smaller recovery.batch_size or recovery.max_length, or for a worker with more memory.",
    "timeout": "Raise limits.max_runtime_seconds, or ask for less: a lower recovery.effort, fewer seeds.",
    "queue_timeout": "No worker took it in time. See who is there under Workers, then retry it.",
    "attempts_exhausted": "Its workers were lost each time. The log's end says what they were at; then retry it.",
    "stalled": "It stood still for too long and was stopped. Retry it; if it stalls again, look into the log.",
    "training_diverged": "Ask for a lower recovery.learning_rate, or another seed.",
    "objective_not_met": "Its files are kept all the same. Ask for a weaker objective, or for more effort.",
    "verification_failed": "What was exported did not prove sound, so it is not delivered. The log says which check.",
    "hub_unavailable": "The hub did not answer. Retry it once it does.",
    "model_not_found": "Look at the model's id and revision, and whether its hub token may read it.",
}


@dataclass(frozen=True)
class StageView:
    """``state``: done, current, skipped, failed, ahead. ``note`` says more, such as the seed it is at."""

    name: str
    title: str
    state: str
    note: str = ""


@dataclass(frozen=True)
class ErrorView:
    title: str
    message: str
    code: str
    stage: str | None
    param: str | None
    advice: str | None
    retryable: bool


@dataclass(frozen=True)
class JobActions:
    cancel: bool
    retry: bool
    delete: bool


@dataclass(frozen=True)
class LogView:
    """The end of it; ``after`` is where it goes on, ``why_not`` is set where there is none to show."""

    text: str
    after: int
    is_cut: bool
    why_not: str | None = None


@dataclass(frozen=True)
class JobView:
    job: Job
    path: str
    title: str
    task: str
    strategy: str
    layers: str
    status: Word
    #: Why it stands there, where that is not said elsewhere on the page.
    why: str
    live: bool
    last_event: int
    stages: list[StageView]
    outcome: Word | None
    verdict: str
    marks: list[LayerMark]
    dropped: list[int]
    kept: list[int]
    lines: list[Line]
    report: Report | None
    warnings: list[str]
    error: ErrorView | None
    files: list[FileInfo]
    files_why_not: str | None
    log: LogView
    actions: JobActions
    figures: list[FigureView]
    parents: list[Parent]
    curl: str
    job_file: str
    resolved: str


@dataclass(frozen=True)
class FigureView:
    name: str
    title: str
    alt: str


@dataclass(frozen=True)
class Parent:
    """What the job was made from: ``how``, and the page of it."""

    how: str
    id: str
    path: str


@dataclass(frozen=True)
class Found:
    """What is read for a job's page beside the job. ``origin`` is the service's own, as the browser calls it."""

    stage_events: Sequence[Event]
    last_event: int
    report: Report | None
    files: list[FileInfo]
    files_why_not: str | None
    log: LogView
    origin: str
    key_needed: bool
    can_draw: bool


def job_view(job: Job, found: Found) -> JobView:
    result, plan = job.result, job.resolved.plan if job.resolved else None
    kept = result.layers_kept if result else (plan.kept if plan else None)
    dropped = result.layers_dropped if result else (plan.dropped if plan else None)
    report = found.report
    return JobView(
        job=job,
        path=f"/ui/jobs/{job.id}",
        title=model_name(job.model),
        task=job.task,
        strategy=strategy_of(job),
        layers=layers_of(job),
        status=STATUSES[job.status],
        why=job.status_reason if job.status_reason and job.error is None else STATUSES[job.status].means,
        live=not job.status.terminal,
        last_event=found.last_event,
        stages=stage_views(job, found.stage_events),
        outcome=OUTCOMES[result.outcome] if result and result.outcome else None,
        verdict=verdict_words(result.verdict, result.outcome) if result else "",
        marks=layer_marks(job, report),
        kept=kept or [],
        dropped=dropped or [],
        lines=comparison(job, report),
        report=report,
        warnings=list(dict.fromkeys([*(report.warnings if report else []), *(plan.warnings if plan else [])])),
        error=error_view(job.error) if job.error else None,
        files=found.files,
        files_why_not=found.files_why_not,
        log=found.log,
        actions=actions_of(job),
        figures=figures_of(job, report) if found.can_draw else [],
        parents=parents_of(job),
        curl=curl_of(job, found.origin, key_needed=found.key_needed),
        job_file=pretty(job.request),
        resolved=pretty(job.resolved.model_dump(mode="json", exclude_none=True)) if job.resolved else "",
    )


def verdict_words(verdict: str, outcome: Outcome | None) -> str:
    """Without the outcome that it begins with: the page has that beside it, in a word."""
    said = verdict.removeprefix(f"{outcome}: ") if outcome else verdict
    return said[:1].upper() + said[1:]


def stage_views(job: Job, told: Sequence[Event]) -> list[StageView]:
    """Of the latest attempt, by what its events say."""
    events = [one for one in told if isinstance(one, StageEvent) and one.attempt == job.attempt]
    newest = {event.data.stage: event for event in events}
    at = job.stage if job.status.active else None
    return [_stage(job, stage, newest.get(stage), at) for stage in Stage]


def _stage(job: Job, stage: Stage, event: StageEvent | None, at: Stage | None) -> StageView:
    name, title = stage.value, STAGES[stage]
    if job.error is not None and job.error.stage == name:
        return StageView(name, title, "failed", "ended here")
    if event is None:
        return StageView(name, title, "current" if stage is at else "ahead")
    if event.data.skipped:
        return StageView(name, title, "skipped", "not needed")
    seed = "" if event.data.seed is None else f"seed {event.data.seed}"
    return StageView(name, title, "current" if stage is at else "done", seed if stage is at else "")


def error_view(error: JobError) -> ErrorView:
    kind = ERRORS.get(error.code)
    title = kind.title if kind else "It failed"
    return ErrorView(
        title, error.message, error.code, error.stage, error.param, ADVICE.get(error.code), error.retryable
    )


def actions_of(job: Job) -> JobActions:
    return JobActions(
        cancel=job.status in (Status.QUEUED, Status.RUNNING),
        retry=job.status in (Status.FAILED, Status.CANCELLED),
        delete=job.status.terminal,
    )


def figures_of(job: Job, report: Report | None) -> list[FigureView]:
    """What there is something to draw of."""
    if report is None:
        return []
    model = model_name(job.model)
    found = [FigureView("before_and_after", "Before and after", f"{model} before and after, as in the table above")]
    if report.training:
        found.append(FigureView("curves", "Curves of the run", "Loss and score of each training, by step"))
    if report.search is not None:
        found.append(FigureView("search", "The search", "Score by the number of layers dropped, for each candidate"))
    return found


def parents_of(job: Job) -> list[Parent]:
    found = []
    if job.model.startswith("job:"):
        found.append(("Its model is what this job delivered", job.model.removeprefix("job:").partition("@")[0]))
    if job.resolved is not None and job.resolved.start is not None:
        found.append(("Its recovery begins at this job's model", job.resolved.start.job))
    return [Parent(how, job_id, f"/ui/jobs/{job_id}") for how, job_id in found]


def curl_of(job: Job, origin: str, *, key_needed: bool) -> str:
    """What asks for the same once more, for a POSIX shell."""
    key = ' \\\n  -H "Authorization: Bearer $LAYERCUT_API_KEY"' if key_needed else ""
    return f"curl -s {shlex.quote(f'{origin}/v1/jobs')}{key} \\\n  -d {shlex.quote(pretty(job.request))}"


def as_request(job: Job) -> dict[str, Any]:
    """The job file: what `layercut run` and `POST /v1/jobs` take."""
    return job.request
