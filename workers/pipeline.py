"""One job, stage by stage, on one screen."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from transformers import PreTrainedModel

from api_schemas.events import NewEvent
from api_schemas.jobs import Stage
from api_schemas.plans import Plan
from api_schemas.requests import JobRequest
from api_schemas.resolved import ResolvedRequest
from workers.cache.folder import Cache, FolderCache
from workers.checkpoints.checkpoint import Checkpoints
from workers.evaluation.by_seed import Pair, from_tensors, to_tensors
from workers.runtime.casting import cast_weights
from workers.runtime.loading import quiet_libraries
from workers.settings import WorkerSettings
from workers.stages.baseline import Baseline, make_baseline
from workers.stages.choose import choose_layers
from workers.stages.deliver import Artifact, deliver, deliver_report
from workers.stages.forecast import expect
from workers.stages.job_cache import JobCache
from workers.stages.job_warnings import warnings_of
from workers.stages.mapped import tell_layers
from workers.stages.measure import measure, measure_alone, score, score_before
from workers.stages.progress import ProgressReporter
from workers.stages.provenance import provenance_of
from workers.stages.prune import prune
from workers.stages.recover import recover
from workers.stages.resolve import resolve_job
from workers.stages.run_context import RunContext
from workers.stages.train import StageTraining
from workers.stages.try_out import try_out
from workers.training.micro_batches import MicroBatches


def run_pipeline(
    request: JobRequest,
    *,
    resolved: ResolvedRequest | None = None,
    job_id: str | None,
    out: Path,
    settings: WorkerSettings,
    tell: Callable[[NewEvent], None],
    shared: Cache | None = None,
    attempt: int = 1,
    checkpoints: Path | None = None,
    archived: bool = True,
    warnings: Callable[[], list[str]] = list,
) -> None:
    """Carry the job out, and leave its artifact under ``out``. The last event told is SUCCEEDED.

    What ``resolved`` pins is carried out as it stands; without it, ``request`` is resolved here. What ``shared`` has is
    not made again; without one, all is made here and nothing is left for others. Goes on where an earlier attempt left
    ``checkpoints``, a folder that whoever gave it removes; without one, where an earlier run left ``out``. ``tell``
    gets every event on the way. ``archived``: with one tar of the files. ``warnings`` answers what the report has to
    say beside its own, when it is made. A model that misses its objective is delivered
    too, and the last event is FAILED then. Raises ``LayercutError`` for what a person can mend, and ``Stopped`` after a
    SIGTERM in the middle of a training.
    """
    quiet_libraries()
    progress = ProgressReporter(tell, warnings)
    cache = JobCache(shared or FolderCache(out / "cache", settings.cache_bytes), progress)
    with progress.stage(Stage.RESOLVING):
        job = resolve_job(request, resolved, settings, cache, progress)
        progress.resolved(job.shown())
        seed, *other_seeds = job.request.seeds
        source = job.load(seed)
        if job.mapped:
            tell_layers(source.model, job.architecture, progress.part)
        source.warnings.extend(try_out(job, source.model))
    saved = Checkpoints(
        checkpoints or out / "checkpoints", attempt=attempt, every_seconds=settings.checkpoint_seconds,
        provenance=lambda: provenance_of(job), tell=progress.log,
    )  # fmt: skip
    run = RunContext(
        job, progress, cache, out, job_id, seed, saved, MicroBatches(settings.micro_batches), archived,
        settings.verify_with,
    )  # fmt: skip
    expect(run)
    for warning in (*source.warnings, *warnings_of(job)):
        progress.warn(warning)
    if job.request.evaluates_only:
        tell(evaluate(run, source.model).ending())
        return
    baseline = make_baseline(run, source.model)
    start = start_of(run, source.model)
    plan = choose_layers(run, start, baseline.model if baseline else None)
    run = run.planned(plan)
    made = _made(run, plan, start, baseline)
    others = {other: repeat(run.seeded(other), plan) for other in other_seeds}
    scores = {other: found.scores for other, found in others.items()}
    before = baseline.model if baseline else source.model
    measured = measure(run, before, made.model, scores)
    trainings = [*made.trainings, *(training for other in others.values() for training in other.trainings)]
    artifact = deliver(run, plan, made.model, measured, trainings, before=before)
    if checkpoints is None:
        shutil.rmtree(saved.folder, ignore_errors=True)
    tell(artifact.ending())


def evaluate(run: RunContext, model: PreTrainedModel) -> Artifact:
    """A job that drops nothing and trains nothing: the model is measured, and reported."""
    make_baseline(run, model)
    plan = choose_layers(run, model, None)
    run.progress.skip(Stage.PRUNING, "nothing is dropped")
    recover(run, None, model)
    return deliver_report(run, plan, measure_alone(run, model))


def start_of(run: RunContext, source: PreTrainedModel) -> PreTrainedModel:
    """What layers are dropped from: ``source``, or what an earlier job left of it."""
    if run.job.start is None:
        return source
    loaded = run.job.load_start(run.seed)
    for warning in loaded.warnings:
        run.progress.warn(warning)
    return loaded.model


@dataclass(frozen=True)
class Made:
    """A model that is pruned and repaired, in the dtype of the export, and the trainings behind it."""

    model: PreTrainedModel
    trainings: list[StageTraining]


@dataclass(frozen=True)
class Repeated:
    """The scores of another seed's models, before and after; those of an earlier attempt come without trainings."""

    scores: Pair
    trainings: list[StageTraining] = field(default_factory=list)


def repeat(run: RunContext, plan: Plan) -> Repeated:
    """All of it again with the run's seed, for its scores alone. The layers are those of the first seed's plan."""
    slot = run.slot("scores")
    found = slot.latest()
    if found is not None:
        for stage in (Stage.BASELINE, Stage.RECOVERING):
            run.progress.jump(stage, 0, 1, 1)
        return Repeated(from_tensors(found.tensors, found.facts))
    source = run.job.load(run.seed).model
    baseline = make_baseline(run, source)
    made = _made(run, plan, start_of(run, source), baseline)
    with run.progress.stage(Stage.EVALUATING, seed=run.seed):
        before = baseline.model if baseline else source
        pair = score_before(run, before) if baseline else None, score(run, made.model, before)
    slot.save(1, *to_tensors(pair), finished=True)
    for stage in (Stage.BASELINE, Stage.RECOVERING):
        run.slot(stage.value).forget()
    return Repeated(pair, made.trainings)


def _made(run: RunContext, plan: Plan, start: PreTrainedModel, baseline: Baseline | None) -> Made:
    model = prune(run, start, plan)
    recovery = recover(run, baseline.model if baseline else None, model)
    cast_weights(model, run.job.dtype)
    done = (baseline.training if baseline else None, recovery)
    return Made(model, [training for training in done if training is not None])
