"""What a job delivers: the exported files, proved, with a report that says how they came to be."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from api_schemas.architectures import Architecture
from api_schemas.curves import objective_of
from api_schemas.errors import JobError, LayercutError
from api_schemas.events import EventType, NewEvent
from api_schemas.jobs import Result, Stage, Usage
from api_schemas.plans import Plan
from api_schemas.reports import Latency, LayerMap, Measurements, Report, Search, Verification
from api_schemas.search import shortfall
from api_schemas.strategies import STRATEGIES
from workers.data.batches import collate
from workers.data.made_up import made_up_inputs
from workers.evaluation.by_seed import ScoresBySeed
from workers.evaluation.latency import speedup
from workers.evaluation.retention import Intervals, bootstrap, retention, verdict
from workers.evaluation.scores import Scores
from workers.export.archive import make_archive
from workers.export.card import make_card
from workers.export.files import export_model, export_stream, write_sums
from workers.export.verify import Streamed, save_probe, verify
from workers.pruning.streaming import Cut
from workers.runtime.device import describe, peak_memory
from workers.stages.run_context import RunContext

PROBE_ROWS = 8
REPORTED_VERSIONS = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "layercut")


@dataclass(frozen=True)
class Measured:
    """The two sides of the comparison, and each seed's answers before and after, for the interval."""

    before: Measurements
    after: Measurements
    pairs: list[tuple[Scores, Scores]]

    @classmethod
    def of(
        cls,
        models: tuple[PreTrainedModel, PreTrainedModel],
        answers: Sequence[ScoresBySeed | None],
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
                latency=latency,
            )
            for model, found, latency, flop in zip(models, answers, latencies, flops, strict=True)
        ]
        before, after = answers
        pairs = [(before.by_seed[seed], after.by_seed[seed]) for seed in after.by_seed] if before and after else []
        return cls(sides[0], sides[1], pairs)

    def sized(self, before: int, after: int) -> Measured:
        """With the bytes that are really in the files."""
        sides = (self.before.model_copy(update={"bytes": before}), self.after.model_copy(update={"bytes": after}))
        return replace(self, before=sides[0], after=sides[1])


@dataclass(frozen=True)
class Artifact:
    """Files ready to be published: ``folder`` and ``archive`` are names under the run's ``out``. ``shortfall`` is what
    keeps the model from its objective.
    """

    result: Result
    usage: Usage
    folder: str
    archive: str
    shortfall: str | None = None

    def ending(self) -> NewEvent:
        """How the job ends: with the files in either case."""
        made: dict[str, Any] = {
            "usage": self.usage.model_dump(mode="json"),
            "artifact": {"folder": self.folder, "archive": self.archive},
        }
        if self.shortfall is None:
            result = self.result.model_dump(mode="json")
            return NewEvent(type=EventType.SUCCEEDED, message=self.result.verdict, data={"result": result, **made})
        message = f"{self.shortfall}; that model, and the curve of all that was tried, are kept"
        error = JobError.of(LayercutError("objective_not_met", message, param="/prune/objective"), Stage.VERIFYING)
        data = {"error": error.model_dump(mode="json"), **made}
        return NewEvent(type=EventType.FAILED, level="error", message=message, data=data)


def deliver(run: RunContext, plan: Plan, model: PreTrainedModel, measured: Measured) -> Artifact:
    """Export, verify in a fresh process, write report, card and sums. Raises ``verification_failed``."""
    job, progress = run.job, run.progress
    folder = run.out / "artifact"
    with progress.stage(Stage.EXPORTING):
        cut = export(run, plan, model, folder)
        write_sums(folder)
        # In float32 there may be no room for the model; and what lost bits when it was loaded has other outputs there.
        dtype = job.dtype if cut and (job.mapped or cut.mixed) else torch.float32
        probe = save_probe(model, probe_inputs(run, model.config), run.out / "probe.safetensors", dtype)
    if cut:
        measured = measured.sized(cut.bytes_before, cut.bytes_after)
    with progress.stage(Stage.VERIFYING):
        verification = verify(
            folder, probe, layers=_layer_counts(job.architecture, plan), source_bytes=measured.before.bytes,
            kind=job.architecture.kind, shared_layers=job.architecture.shared_layers, dtype=dtype,
            mapped=job.mapped, streamed=cut and Streamed(job.folder, cut.origins),
        )  # fmt: skip
        _require(verification)
    report = make_report(run, plan, measured, verification)
    (folder / "report.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(make_card(report), encoding="utf-8")
    write_sums(folder)
    name = "-".join(part for part in (run.job_id or "model", job.request.suffix) if part)
    make_archive(folder, run.out / f"{name}.tar", name)
    missed = report.search.shortfall if report.search else None
    return Artifact(_result(report, plan, run), _usage(run, report), folder.name, f"{name}.tar", missed)


def export(run: RunContext, plan: Plan, model: PreTrainedModel, folder: Path) -> Cut | None:
    """Write the model's files. Where nothing changed its weights, they are copied, and the answer says what and how."""
    job = run.job
    if not job.streams:
        export_model(model, job.tokenizer, folder, job.dtype)
        return None
    return export_stream(
        model, job.tokenizer, folder, source=job.folder, architecture=job.architecture, kept=plan.kept or []
    )


def _layer_counts(architecture: Architecture, plan: Plan) -> dict[str, int]:
    """What the exported config must say, stack by stack."""
    kept = [stack.kept for stack in plan.stacks.values()] if plan.stacks else [plan.kept or []]
    return {stack.count_field: len(layers) for stack, layers in zip(architecture.stacks, kept, strict=True)}


def _require(verification: Verification) -> None:
    failed = [f"{check.name}: {check.detail}" for check in verification.checks if not check.passed]
    if failed or not verification.passed:
        raise LayercutError("verification_failed", "; ".join(failed) or "the verification process said no")


def make_report(run: RunContext, plan: Plan, measured: Measured, verification: Verification) -> Report:
    job, request = run.job, run.job.request
    before, after = measured.before, measured.after
    intervals = _intervals(run, measured)
    gain = intervals.gain if intervals else None
    kept = None if before.score is None or after.score is None else retention(before.score, after.score)
    return Report(
        layers=LayerMap(total=plan.layers_total, kept=plan.kept or [], dropped=plan.dropped or [], stacks=plan.stacks),
        before=before,
        after=after,
        retention=kept,
        speedup=speedup(before.latency, after.latency),
        verdict=verdict(before.score, after.score, gain),
        verification=verification,
        job_id=run.job_id,
        model=job.facts.model_dump(mode="json"),
        task={"name": request.task.label, "metric": headline(run), **request.task.model_dump(exclude_none=True)},
        strategy=_strategy(plan, job.calibration_facts()),
        recovery=job.recovery.model_dump(),
        retention_interval=intervals.retention if intervals else None,
        gain_interval=gain,
        search=_search(run, plan, after, kept),
        training={name: trained.as_dict() for name, trained in run.trainings.items()},
        data=_data(run),
        reused=run.cache.reused,
        warnings=run.progress.warnings,
        seed=request.seed,
        seeds=request.seeds,
        device=describe(job.device),
        versions={"python": platform.python_version()} | {name: version(name) for name in REPORTED_VERSIONS},
        timings=run.progress.timings,
        peak_memory_bytes=peak_memory(job.device),
    )


def _search(run: RunContext, plan: Plan, after: Measurements, kept: float | None) -> Search | None:
    """With the objective judged, by what the report says of the model."""
    if plan.search is None:
        return None
    missed = shortfall(objective_of(run.job.request.prune, run.job.facts), after, kept)
    return plan.search.model_copy(update={"met": missed is None, "shortfall": missed})


def headline(run: RunContext) -> str | None:
    metric = run.job.request.task.headline
    return metric.name if metric else None


def _intervals(run: RunContext, measured: Measured) -> Intervals | None:
    metric = headline(run)
    if not measured.pairs or metric is None:
        return None
    return bootstrap(measured.pairs, metric, seed=run.job.request.seed)


def _strategy(plan: Plan, calibration: dict[str, Any] | None) -> dict[str, Any]:
    row = STRATEGIES[plan.strategy]
    return {
        "name": row.name,
        "summary": row.summary,
        "reference": row.reference,
        "measure": plan.measure,
        "importance": plan.importance,
        "protected": plan.protected,
        "calibration": calibration,
    }


def _data(run: RunContext) -> dict[str, Any]:
    data = run.job.data
    if data is None:
        return {}
    splits = {"train": data.train, **data.dev}
    return {
        split: {"rows": len(rows.labels), "source": rows.source, "sha256": rows.sha256}
        for split, rows in splits.items()
    } | {"labels": list(data.label_names)}


def probe_inputs(run: RunContext, config: PreTrainedConfig) -> dict[str, torch.Tensor]:
    """A few inputs whose logits the exported model must repeat: dev rows, or drawn tokens where there is no data."""
    job = run.job
    if job.dev:
        rows = next(iter(job.dev.values()))
        return collate(rows, np.arange(min(PROBE_ROWS, len(rows))), torch.device("cpu"))
    return made_up_inputs(config, 4, 16, seed=run.job.request.seed)


def _result(report: Report, plan: Plan, run: RunContext) -> Result:
    return Result(
        layers_total=plan.layers_total,
        layers_kept=report.layers.kept,
        layers_dropped=report.layers.dropped,
        parameters_before=report.before.parameters,
        parameters_after=report.after.parameters,
        bytes_before=report.before.bytes,
        bytes_after=report.after.bytes,
        metric=headline(run),
        score_before=report.before.score,
        score_after=report.after.score,
        retention=report.retention,
        speedup=report.speedup,
        verdict=report.verdict,
    )


def _usage(run: RunContext, report: Report) -> Usage:
    return Usage(
        wall_seconds=round(sum(report.timings.values()), 3),
        peak_memory_bytes=report.peak_memory_bytes,
        training_steps=sum(trained.steps for stage, trained in run.trainings.items() if not run.cache.has(stage))
        + (report.search.spent_steps if report.search else 0),
    )


def _weight_bytes(model: PreTrainedModel, dtype: torch.dtype) -> int:
    """Bytes of its weights when saved in ``dtype``; tied weights count once, as in the file."""
    return sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize
