"""Scores and speed, before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from transformers import PreTrainedModel

from api_schemas.jobs import Stage
from api_schemas.reports import Latency, Measurements
from sources.cached_files import Unusable
from workers.evaluation import latency
from workers.evaluation.by_seed import SIDES, Pair, ScoresBySeed, sides_of
from workers.evaluation.score_warnings import score_warnings
from workers.evaluation.scores import Scores, evaluate, scored_names
from workers.stages import fingerprints
from workers.stages.answers import baseline_answers
from workers.stages.run_context import RunContext


@dataclass(frozen=True)
class Measured:
    """The two sides of the comparison, and each seed's scores before and after, for the interval."""

    before: Measurements
    after: Measurements
    pairs: list[tuple[Scores, Scores]]
    #: Whether both sides are one model, which stays as it is.
    alone: bool = False

    @classmethod
    def of(
        cls,
        models: tuple[PreTrainedModel, PreTrainedModel],
        scores: Sequence[ScoresBySeed | None],
        latencies: Sequence[list[Latency]],
        flops: Sequence[int | None],
        dtype: torch.dtype,
    ) -> Measured:
        sides = [
            Measurements(
                parameters=model.num_parameters(),
                bytes=_weight_bytes(model, dtype),
                flops=flop,
                score=found.spread.mean if found else None,
                scores=found.spread if found else None,
                metrics=found.metrics if found else {},
                undefined=found.undefined if found else {},
                latency=latency,
            )
            for model, found, latency, flop in zip(models, scores, latencies, flops, strict=True)
        ]
        before, after = scores
        pairs = [(before.by_seed[seed], after.by_seed[seed]) for seed in after.by_seed] if before and after else []
        return cls(sides[0], sides[1], pairs)

    def sized(self, before: int, after: int) -> Measured:
        """With the bytes that are really in the files."""
        sides = (self.before.model_copy(update={"bytes": before}), self.after.model_copy(update={"bytes": after}))
        return replace(self, before=sides[0], after=sides[1])


def measure(run: RunContext, before: PreTrainedModel, after: PreTrainedModel, others: dict[int, Pair]) -> Measured:
    """Of the exported model and of the one before it. ``others`` has the scores of the seeds after the first."""
    job, progress = run.job, run.progress
    scores: tuple[ScoresBySeed | None, ScoresBySeed | None] = (None, None)
    if job.scored:
        with progress.stage(Stage.EVALUATING, seed=run.seed):
            compares = job.wants_baseline or not job.trains
            first = score_before(run, before) if compares else None, score(run, after, before)
            scores = sides_of({run.seed: first, **others})
            _tell_scores(run, first, scores)
    else:
        _skip_scores(run)
    latencies, flops = _speed(run, (before, after))
    return Measured.of((before, after), scores, latencies, flops, job.dtype)


def measure_alone(run: RunContext, model: PreTrainedModel) -> Measured:
    """Of a model that stays as it is: taken once, and both sides are that."""
    scores: tuple[ScoresBySeed | None, ScoresBySeed | None] = (None, None)
    if run.job.scored:
        with run.progress.stage(Stage.EVALUATING, seed=run.seed):
            found = score_before(run, model)
            scores = sides_of({run.seed: (found, found)})
            _tell_scores(run, (None, found), (None, scores[1]))
    else:
        _skip_scores(run)
    latencies, flops = _speed(run, (model,))
    whole = Measured.of((model, model), scores, 2 * latencies, 2 * flops, run.job.dtype)
    return replace(whole, pairs=[], alone=True)


def _tell_scores(run: RunContext, first: Pair, scores: tuple[ScoresBySeed | None, ScoresBySeed | None]) -> None:
    """``first`` is of the first seed alone."""
    job, progress = run.job, run.progress
    for side, found in zip(SIDES, scores, strict=True):
        for name, value in (found.metrics if found else {}).items():
            reason = found.undefined.get(name) if found else None
            progress.metric(name, value, side, of=job.metric_labels.metric_of(name), reason=reason)
    for warning in score_warnings(first, job.metric_labels, job.kind.row.labels):
        progress.warn(warning)


def _skip_scores(run: RunContext) -> None:
    why = run.job.why_not_scored if run.job.data is not None else "there is no task to score it on"
    run.progress.skip(Stage.EVALUATING, f"the model is not scored: {why}")


def _speed(run: RunContext, models: Sequence[PreTrainedModel]) -> tuple[list[list[Latency]], list[int | None]]:
    """Of each model: its latencies, and the operations of one example."""
    job, progress = run.job, run.progress
    with progress.stage(Stage.BENCHMARKING):
        tokens, device = job.recovery.max_length, job.device
        latencies = _latencies(run, models)
        count = partial(latency.flops, tokens=tokens, device=device)
        flops = [None if job.mapped else count(model) for model in models]
    return list(latencies), flops


def _latencies(run: RunContext, models: Sequence[PreTrainedModel]) -> list[list[Latency]]:
    """Measured once on a host and day for all jobs whose models have the same shapes."""
    job = run.job
    if not job.latency_cells:
        return [[] for _ in models]

    def made() -> list[list[Latency]]:
        return latency.measure(models, job.latency_cells, device=job.device, done=run.progress.part)

    form = partial(_as_latencies, models=len(models), cells=job.latency_cells)
    return run.cache.share("latency", fingerprints.latency(job, models), made, form)


def _as_latencies(found: list[list[Latency]], models: int, cells: Sequence[tuple[int, int]]) -> list[list[Latency]]:
    wanted = [list(cells)] * models
    said = [[(one.batch_size, one.sequence_length) for one in rows] for rows in found]
    if said != wanted or not all(_possible(one) for rows in found for one in rows):
        raise Unusable("latency", f"it does not time {models} models in {len(cells)} cells")
    return found


def _possible(one: Latency) -> bool:
    ordered = 0 < one.p50_ms <= one.p95_ms < math.inf and one.runs > 0
    return ordered and math.isclose(one.examples_per_second, one.batch_size / one.p50_ms * 1000, rel_tol=1e-6)


def score_before(run: RunContext, before: PreTrainedModel) -> Scores:
    """From the cache, where a job with the same model before has been scored."""
    fingerprint = fingerprints.baseline_scores(run.job, run.seed)
    assert run.job.data is not None
    names = scored_names(run.job.kind, list(run.job.dev), run.job.data.metrics)
    kind, metric = run.job.kind, run.job.data.metrics[0]
    rows = next(kind.judged_rows(metric, rows) for split, rows in run.job.dev.items() if kind.scores(metric, split))
    form = partial(_as_scores, rows=rows, names=names)
    return run.cache.share("baseline_scores", fingerprint, lambda: score(run, before, before), form)


def _as_scores(found: Scores, rows: int, names: list[str]) -> Scores:
    if {len(found.gold), len(found.guess)} != {rows} or found.metrics.keys() != set(names):
        raise Unusable("baseline_scores", f"it is not of {rows} rows and of {', '.join(names)}")
    return found


def score(run: RunContext, model: PreTrainedModel, before: PreTrainedModel) -> Scores:
    """``before`` is the model that a kind without labels is judged by."""
    job = run.job
    assert job.data is not None
    return evaluate(
        job.kind,
        model,
        job.dev,
        job.data.metrics,
        job.metric_labels,
        device=job.device,
        order=job.label_order,
        reference=lambda split: baseline_answers(run, before, split, job.dev[split]),
        done=run.progress.part,
    )


def _weight_bytes(model: PreTrainedModel, dtype: torch.dtype) -> int:
    """Bytes of its weights when saved in ``dtype``; tied weights count once, as in the file."""
    return sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize
