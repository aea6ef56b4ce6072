"""The report: everything measured before and after, and how it came to be."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version

from api_schemas.curves import objective_of
from api_schemas.plans import Plan
from api_schemas.reports import (
    FormatReport,
    LayerMap,
    Measurements,
    Report,
    ReportedData,
    ReportedStart,
    ReportedStrategy,
    ReportedTask,
    Search,
    Split,
    Training,
    Verification,
)
from api_schemas.search import shortfall
from api_schemas.strategies import STRATEGIES
from workers.evaluation.bootstrap import Intervals, bootstrap
from workers.evaluation.latency import speedup
from workers.evaluation.retention import retention
from workers.evaluation.verdict import NO_TASK, Comparison, decide, verdict
from workers.runtime.device import describe, peak_memory
from workers.stages.measure import Measured
from workers.stages.resolved_job import ResolvedJob
from workers.stages.run_context import RunContext
from workers.stages.train import StageTraining

TOLD_OF_TASK = {
    "dataset", "dev", "text_columns", "label_column", "label_columns", "max_train_rows", "pairs",
}  # fmt: skip
REPORTED_VERSIONS = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "layercut")


def make_report(
    run: RunContext,
    plan: Plan,
    measured: Measured,
    trainings: Sequence[StageTraining],
    verification: Verification,
    *,
    formats: Sequence[FormatReport] = (),
) -> Report:
    job, request, told = run.job, run.job.request, run.progress.told
    run.progress.take_warnings()
    before, after = measured.before, measured.after
    intervals = _intervals(job, measured)
    decision = decide(_comparison(job, measured, intervals))
    # Of a model that stays as it is, nothing is compared.
    share = None if measured.alone else retention(before.score, after.score)
    return Report(
        layers=LayerMap(total=plan.layers_total, kept=plan.kept or [], dropped=plan.dropped or [], stacks=plan.stacks),
        before=before,
        after=after,
        retention=share,
        speedup=None if measured.alone else speedup(before.latency, after.latency),
        verdict=verdict(decision),
        verification=verification,
        job_id=run.job_id,
        model=job.facts,
        card=job.card,
        task=_task(job),
        strategy=_strategy(job, plan),
        recovery=job.recovery,
        start=_start(job),
        source_sha256=job.content.source_sha256,
        decision=decision,
        retention_interval=intervals.retention if intervals else None,
        gain_interval=intervals.gain if intervals else None,
        search=_search(job, plan, after, share),
        training={training.name: Training(**training.result.as_dict()) for training in trainings},
        data=_data(job),
        formats=list(formats),
        reused=told.reused,
        warnings=told.warnings,
        seed=request.seed,
        seeds=request.seeds,
        device=describe(job.device),
        versions={"python": platform.python_version()} | {name: version(name) for name in REPORTED_VERSIONS},
        timings=told.timings,
        peak_memory_bytes=peak_memory(job.device),
    )


def _start(job: ResolvedJob) -> ReportedStart | None:
    if job.start is None:
        return None
    pinned = job.start.pinned
    return ReportedStart(job=pinned.job, kept=pinned.kept, sha256=pinned.sha256, classes=job.cut_facts.classes)


def _task(job: ResolvedJob) -> ReportedTask:
    task = job.request.task
    fields = task.model_dump(include=TOLD_OF_TASK)
    if task.dataset is not None:
        fields |= {"read": task.read, "dev_read": task.dev_read}
    of = {name: job.metric_labels.metric_of(name) for name in (job.data.metrics if job.data else ())}
    named = {name: what for name, what in of.items() if what is not None}
    kind = task.decided_kind if task.trains else None
    return ReportedTask(name=task.label, kind=kind, metric=_headline(job), metrics_of=named, **fields)


def _headline(job: ResolvedJob) -> str | None:
    metric = job.request.task.headline
    return metric.name if metric else None


def _strategy(job: ResolvedJob, plan: Plan) -> ReportedStrategy:
    row = STRATEGIES[plan.strategy]
    return ReportedStrategy(
        name=row.name,
        summary=row.summary,
        reference=row.reference,
        measure=plan.measure,
        importance=plan.importance,
        protected=plan.protected,
        calibration=job.calibration_facts(),
    )


def _search(job: ResolvedJob, plan: Plan, after: Measurements, share: float | None) -> Search | None:
    """With the objective compared with what the report says of the model."""
    if plan.search is None:
        return None
    missed = shortfall(objective_of(job.request.prune, job.facts), after, share)
    return plan.search.model_copy(update={"met": missed is None, "shortfall": missed})


def _intervals(job: ResolvedJob, measured: Measured) -> Intervals | None:
    metric = _headline(job)
    if not measured.pairs or metric is None:
        return None
    return bootstrap(measured.pairs, metric, job.metric_labels, seed=job.request.seed)


def _comparison(job: ResolvedJob, measured: Measured, intervals: Intervals | None) -> Comparison:
    metric, margin = _headline(job), job.request.evaluation.margin
    if measured.alone and job.scored:
        return Comparison(measured.before, measured.after, metric, margin, alone=True)
    if not measured.pairs or metric is None:
        why = job.why_not_scored if job.data is not None else None
        return Comparison(measured.before, measured.after, metric, margin, unscored=why or NO_TASK)
    gold = measured.pairs[0][1].gold
    missing = job.metric_labels.missing(metric, gold)
    return Comparison(measured.before, measured.after, metric, margin, len(gold), intervals, missing)


def _data(job: ResolvedJob) -> ReportedData | None:
    if job.data is None:
        return None
    more = {"pairs": job.data.pairs, "text": job.data.text}
    splits = {
        "train": job.data.train,
        **job.data.dev,
        **{name: rows for name, rows in more.items() if rows is not None},
    }
    return ReportedData(
        labels=list(job.data.label_names),
        splits={
            name: Split(rows=len(rows), source=rows.source, sha256=rows.sha256, skipped=rows.skipped)
            for name, rows in splits.items()
        },
    )
