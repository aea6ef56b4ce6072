"""One job, stage by stage, on one screen."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from transformers import PreTrainedModel

from api_schemas.events import NewEvent
from api_schemas.jobs import Stage
from api_schemas.plans import Plan, make_plan
from api_schemas.requests import JobRequest
from api_schemas.strategies import STRATEGIES
from workers.cache.folder import Cache, FolderCache
from workers.checkpoints.checkpoint import Checkpoints
from workers.evaluation import latency
from workers.evaluation.by_seed import SIDES, Pair, ScoresBySeed, from_tensors, sides_of, to_tensors
from workers.evaluation.scores import Scores, evaluate
from workers.pruning.surgery import drop_layers
from workers.runtime.loading import label_order, quiet_libraries
from workers.settings import WorkerSettings
from workers.stages import cache_codecs, deliver
from workers.stages.job_cache import JobCache
from workers.stages.layer_importance import importance_of
from workers.stages.progress import ProgressReporter
from workers.stages.provenance import provenance_of
from workers.stages.recover import recover
from workers.stages.resolve import resolve_job
from workers.stages.run_context import RunContext
from workers.stages.search import expected_steps, search_layers
from workers.stages.train import train_on
from workers.training.loop import total_steps
from workers.training.micro_batches import MicroBatches
from workers.training.objectives.losses import label_objective


def run_pipeline(
    request: JobRequest,
    *,
    job_id: str | None,
    out: Path,
    settings: WorkerSettings,
    tell: Callable[[NewEvent], None],
    shared: Cache | None = None,
    attempt: int = 1,
    checkpoints: Path | None = None,
) -> None:
    """Carry the job out, and leave its artifact under ``out``. The last event told is SUCCEEDED.

    What ``shared`` has is not made again; without one, all is made here and nothing is left for others. Goes on where
    an earlier attempt left ``checkpoints``, a folder that whoever gave it removes; without one, where an earlier run
    left ``out``. ``tell`` gets every event on the way. A model that misses its objective is delivered too, and the
    last event is FAILED then. Raises ``LayercutError`` for what a person can mend, and ``Stopped`` after a SIGTERM in
    the middle of a training.
    """
    quiet_libraries()
    progress = ProgressReporter(tell)
    cache = JobCache(shared or FolderCache(out / "cache", settings.cache_bytes), progress)
    warnings: list[str] = []
    with progress.stage(Stage.RESOLVING):
        job = resolve_job(request, settings, cache)
        progress.resolved({**job.resolved(), **cache.resolved()})
        source = job.load(warnings, request.seeds[0])
    kept = Checkpoints(
        checkpoints or out / "checkpoints",
        attempt=attempt,
        every_seconds=settings.checkpoint_seconds,
        provenance=lambda: provenance_of(job),
        tell=progress.log,
    )
    memory = MicroBatches(settings.micro_batches)
    run = RunContext(job, progress, cache, out, job_id, request.seeds[0], kept, memory)
    expect(run)
    for warning in warnings:
        progress.warn(warning)
    if job.mapped:
        progress.warn(
            f"the model ({(job.facts.bytes or 0) / 1e9:.1f} GB) is larger than the memory that is free here: its"
            " speed, its FLOPs and its scores are not measured, and it is verified in its own dtype, not in float32"
        )
    before = make_baseline(run, source)
    plan = choose_layers(run, source, before)
    run = replace(run, kept=plan.kept)
    after = prune(run, source, plan)
    recover(run, before, after)
    after.to(job.dtype)
    others = {seed: repeat(replace(run, seed=seed), plan) for seed in request.seeds[1:]}
    measured = measure(run, before or source, after, others)
    artifact = deliver.deliver(run, plan, after, measured)
    if checkpoints is None:
        shutil.rmtree(kept.folder, ignore_errors=True)
    tell(artifact.ending())


def expect(run: RunContext) -> None:
    """Tell what lies ahead, in optimizer steps of the full model."""
    job = run.job
    work: dict[Stage, float] = {}
    step = 1.0
    if job.trains:
        assert job.train is not None
        rows, recovery = len(job.train), job.recovery
        whole = recovery.of_baseline()
        # A step of distilling has the baseline's answer in it: a third of what its training step takes.
        step = (2 / 3 + (recovery.method == "distill") / 3) * recovery.batch_of(rows) / whole.batch_of(rows)
        work = {
            Stage.BASELINE: total_steps(rows, whole) * float(job.wants_baseline),
            Stage.RECOVERING: total_steps(rows, recovery) * step,
        }
    searches = STRATEGIES[job.request.prune.strategy].searches
    run.progress.expect(
        work,
        rounds=len(job.request.seeds),
        benchmark_seconds=len(job.latency_cells) * 2 * latency.SECONDS_A_CELL,
        search=expected_steps(job) * step if searches else 0.0,  # its trainings distil
    )


def make_baseline(run: RunContext, source: PreTrainedModel) -> PreTrainedModel | None:
    """The full model fine-tuned on the task; None where the job wants none.

    `distill` drops from the baseline, so there ``source`` itself is trained; `finetune` drops from the pre-trained
    model, so there a copy is.
    """
    job = run.job
    if not job.wants_baseline:
        run.progress.skip(Stage.BASELINE, "nothing is trained" if not job.trains else "evaluation.baseline is false")
        return None
    baseline = source if job.recovery.method == "distill" else copy.deepcopy(source)

    def make(folder: Path) -> None:
        assert job.train is not None
        objective = label_objective(job.train.labels, job.device)
        train_on(run, Stage.BASELINE, baseline, job.train, objective, recovery=job.recovery.of_baseline())
        cache_codecs.save_baseline(baseline, run.trainings[name], folder)

    name = run.training_name(Stage.BASELINE)
    with run.progress.stage(Stage.BASELINE, seed=run.seed):
        folder = run.cache.get("baseline", job.baseline_fingerprint(run.seed), make)
        if name not in run.trainings:
            run.trainings[name] = cache_codecs.load_baseline(baseline, folder)
            run.progress.spare(Stage.BASELINE)
    return baseline


def choose_layers(run: RunContext, source: PreTrainedModel, baseline: PreTrainedModel | None) -> Plan:
    """Measure the layers where the strategy asks for it, or let candidates compete, and make the plan."""
    job, prune = run.job, run.job.request.prune
    strategy = STRATEGIES[prune.strategy]
    if strategy.searches:
        assert baseline is not None
        return search_layers(run, baseline)
    importance = None
    if strategy.measure is None:
        run.progress.skip(Stage.SCORING, f"strategy {strategy.name} needs no importance")
    else:
        with run.progress.stage(Stage.SCORING):
            importance = importance_of(run, source, baseline)[strategy.measure]
    with run.progress.stage(Stage.PLANNING):
        plan = make_plan(prune, job.facts, seed=job.request.seed, importance=importance)
        for warning in plan.warnings:
            run.progress.warn(warning)
        run.progress.resolved(
            {"plan": plan.model_dump(mode="json", include={"kept", "dropped", "protected", "importance"})}
        )
    return plan


def prune(run: RunContext, source: PreTrainedModel, plan: Plan) -> PreTrainedModel:
    """A copy with the layers gone; where nothing will change its weights, they are those of ``source``."""
    with run.progress.stage(Stage.PRUNING, seed=run.seed):
        shared = (*source.parameters(), *source.buffers()) if run.job.streams else ()
        pruned = copy.deepcopy(source, {id(weight): weight for weight in shared})
        assert plan.kept is not None
        drop_layers(pruned, run.job.architecture, plan.kept)
    return pruned


def repeat(run: RunContext, plan: Plan) -> Pair:
    """All of it again with the run's seed, for its scores alone. The layers are those of the first seed's plan."""
    job, slot = run.job, run.slot("scores")
    found = slot.latest()
    if found is not None:
        for stage in (Stage.BASELINE, Stage.RECOVERING):
            run.progress.jump(stage, 0, 1, 1)
        return from_tensors(found.tensors, found.facts)
    source = job.load([], run.seed)
    before = make_baseline(run, source)
    after = prune(run, source, plan)
    recover(run, before, after)
    after.to(job.dtype)
    with run.progress.stage(Stage.EVALUATING, seed=run.seed):
        pair = score_before(run, before) if before else None, score(run, after)
    slot.save(1, *to_tensors(pair), finished=True)
    for stage in (Stage.BASELINE, Stage.RECOVERING):
        run.slot(stage.value).forget()
    return pair


def measure(
    run: RunContext, before: PreTrainedModel, after: PreTrainedModel, others: dict[int, Pair]
) -> deliver.Measured:
    """Scores and speed, before and after. ``others`` has the scores of the seeds after the first."""
    job, progress = run.job, run.progress
    answers: tuple[ScoresBySeed | None, ScoresBySeed | None] = (None, None)
    compares = job.wants_baseline or not job.trains
    if job.scored:
        with progress.stage(Stage.EVALUATING, seed=run.seed):
            first = score_before(run, before) if compares else None, score(run, after)
            answers = sides_of({run.seed: first, **others})
            for side, found in zip(SIDES, answers, strict=True):
                for name, value in (found.metrics if found else {}).items():
                    progress.metric(name, value, side=side)
    else:
        why = "it is larger than memory" if job.mapped else "nothing was trained, and it has no head for the task"
        progress.skip(Stage.EVALUATING, f"the model is not scored: {why}")
    with progress.stage(Stage.BENCHMARKING):
        tokens, device = job.recovery.max_length, job.device
        latencies = latency.measure((before, after), job.latency_cells, device=device)
        count = partial(latency.flops, tokens=tokens, device=device)
        flops = [None if job.mapped else count(model) for model in (before, after)]
    return deliver.Measured.of((before, after), answers, latencies, flops, job.dtype)


def score_before(run: RunContext, before: PreTrainedModel) -> Scores:
    job, data = run.job, run.job.data
    assert data is not None
    fingerprint = job.fingerprint_of(
        "baseline_scores",
        model=job.baseline_fingerprint(run.seed) if job.wants_baseline else job.source_fingerprint(run.seed),
        dev=[job.fingerprints[f"dev:{split}"] for split in data.dev],
        splits=list(data.dev),
        metrics=data.metrics,
        labels=data.label_names,
    )
    return run.cache.share("baseline_scores", fingerprint, lambda: score(run, before))


def score(run: RunContext, model: PreTrainedModel) -> Scores:
    data = run.job.data
    assert data is not None
    return evaluate(
        model,
        run.job.dev,
        data.metrics,
        regression=data.regression,
        device=run.job.device,
        order=label_order(model.config.id2label, data.label_names),
    )
