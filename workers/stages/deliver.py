"""What a job delivers: the exported files, proved, with a report that says how they came to be."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from api_schemas.architectures import Architecture
from api_schemas.errors import JobError, LayercutError
from api_schemas.events import ArtifactFiles, EventType, FailedData, NewEvent, SucceededData, new_event
from api_schemas.figures import FOLDER
from api_schemas.formats import further
from api_schemas.jobs import Result, Stage, Usage
from api_schemas.plans import Plan
from api_schemas.reports import Report, Verification
from sources.terms import write_terms
from workers.data.batches import collate
from workers.data.made_up import made_up_inputs
from workers.export.archive import archive_name, make_archive
from workers.export.card import make_card
from workers.export.embeddings import Embeddings, copy_modules, expect_embeddings
from workers.export.figures import CardFigure, write_figures
from workers.export.files import export_model, export_stream, write_sums
from workers.export.verify import StockPipeline, Streamed, save_probe, verify
from workers.pruning.streaming import Cut
from workers.stages.formats import measure_formats, write_further
from workers.stages.measure import Measured
from workers.stages.report import make_report
from workers.stages.run_context import RunContext
from workers.stages.train import StageTraining

PROBE_ROWS = 8


@dataclass(frozen=True)
class Artifact:
    """Files ready to be published: ``folder`` and ``archive`` are names under the run's ``out``. ``shortfall`` is what
    keeps the model from its objective.
    """

    result: Result
    usage: Usage
    folder: str
    archive: str | None
    shortfall: str | None = None

    def ending(self) -> NewEvent:
        """How the job ends: with the files in either case."""
        files = ArtifactFiles(folder=self.folder, archive=self.archive)
        if self.shortfall is None:
            data = SucceededData(result=self.result, usage=self.usage, artifact=files)
            return new_event(EventType.SUCCEEDED, self.result.verdict, data)
        message = f"{self.shortfall}; that model, and the curve of all that was tried, are kept"
        error = JobError.of(LayercutError("objective_not_met", message, param="/prune/objective"), Stage.VERIFYING)
        return new_event(
            EventType.FAILED, message, FailedData(error=error, usage=self.usage, artifact=files), level="error"
        )


def deliver(
    run: RunContext,
    plan: Plan,
    model: PreTrainedModel,
    measured: Measured,
    trainings: Sequence[StageTraining],
    *,
    before: PreTrainedModel,
) -> Artifact:
    """Export, verify in a fresh process, write report, card and sums; ``before`` is what a kind without labels is
    judged by. Raises ``verification_failed``.
    """
    job, progress = run.job, run.progress
    folder, formats = run.out / "artifact", further(job.request.export.formats)
    with progress.stage(Stage.EXPORTING):
        cut = export(run, plan, model, folder)
        write_further(run, formats, model, folder)
        write_sums(folder, progress.part)
        # In float32 there may be no room for the model; and what lost bits when it was loaded has other outputs there.
        dtype = job.dtype if cut and (job.mapped or cut.mixed) else torch.float32
        probe = save_probe(model, probe_inputs(run, model.config), run.out / "probe.safetensors", dtype)
        embeddings = expected_embeddings(run, model, dtype)
    if cut:
        # What an earlier job left is not the model before.
        bytes_before = measured.before.bytes if job.start else cut.bytes_before
        measured = measured.sized(bytes_before, cut.bytes_after)
    with progress.stage(Stage.VERIFYING):
        verification = verify(
            folder, probe, layers=_layer_counts(job.architecture, plan), source_bytes=measured.before.bytes,
            kind=job.architecture.kind, shared_layers=job.architecture.shared_layers, dtype=dtype,
            mapped=job.mapped, streamed=Streamed(job.cut_folder, cut.origins) if cut else None, embeddings=embeddings,
            pipeline=_pipeline(run), tokenizer=job.tokenizer, formats=formats, others=run.verify_with,
            waited=progress.part,
        )  # fmt: skip
        _require(verification)
        told = measure_formats(run, formats, model, folder, before=before, after=measured.after)
    for other in verification.others:
        if other.cannot:
            progress.warn(f"the model cannot be loaded with {other.named}: {other.cannot}")
    return _artifact(run, folder, make_report(run, plan, measured, trainings, verification, formats=told), trainings)


def deliver_report(run: RunContext, plan: Plan, measured: Measured) -> Artifact:
    """Of a model that stays as it is: the report and its card, and no weights."""
    folder, why = run.out / "artifact", "the model stays as it is, and is not delivered again"
    for stage in (Stage.EXPORTING, Stage.VERIFYING):
        run.progress.skip(stage, why)
    folder.mkdir(parents=True, exist_ok=True)
    verification = Verification(passed=None, skipped=f"nothing was exported: {why}", checks=[])
    return _artifact(run, folder, make_report(run, plan, measured, [], verification), [])


def _artifact(run: RunContext, folder: Path, report: Report, trainings: Sequence[StageTraining]) -> Artifact:
    figures, warnings = _figures(run, folder, report)
    report = report.model_copy(update={"warnings": [*report.warnings, *warnings]})
    (folder / "report.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(make_card(report, figures), encoding="utf-8")
    write_sums(folder, run.progress.part)
    missed = report.search.shortfall if report.search else None
    return Artifact(_result(report), _usage(report, trainings), folder.name, _archive(run, folder), missed)


def _figures(run: RunContext, folder: Path, report: Report) -> tuple[list[CardFigure], list[str]]:
    """What the card shows, and what there is to be warned of: a figure is never worth a job."""
    try:
        return write_figures(report, run.progress.curves, folder), []
    except Exception as error:  # noqa: BLE001 - whatever it is, the model is proved and goes out
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        why = error.message if isinstance(error, LayercutError) else f"{type(error).__name__}: {error}"
        warning = f"the card has no figures: {why[:300]}"
        run.progress.warn(warning)
        return [], [warning]


def _archive(run: RunContext, folder: Path) -> str | None:
    """Of the files, where nobody makes it who publishes them."""
    if not run.archived:
        return None
    name = archive_name(run.job_id, run.job.request.suffix)
    return make_archive(folder, run.out / f"{name}.tar", name).name


def export(run: RunContext, plan: Plan, model: PreTrainedModel, folder: Path) -> Cut | None:
    """Write the model's files. Where nothing changed its weights, they are copied, and the answer says what and how."""
    job, cut = run.job, None
    if job.streams:
        cut = export_stream(
            model, job.tokenizer, folder, source=job.cut_folder, architecture=job.architecture,
            kept=job.cut_layers(plan.kept or []), done=run.progress.part,
        )  # fmt: skip
    else:
        export_model(model, job.tokenizer, folder, job.dtype)
    if job.modules is not None:
        copy_modules(job.modules, job.folder, folder)
    write_terms(job.terms, folder)
    return cut


def expected_embeddings(run: RunContext, model: PreTrainedModel, dtype: torch.dtype) -> Embeddings | None:
    """What the vectors of a sentence-transformers folder must be; None for another, and for one larger than memory."""
    job = run.job
    if job.modules is None or job.mapped:
        return None
    path, positions = run.out / "embeddings.safetensors", job.facts.max_positions
    return expect_embeddings(job.modules, job.folder, model, path, dtype=dtype, positions=positions)


def _pipeline(run: RunContext) -> StockPipeline | None:
    """Of stock `transformers`, that the model was trained for; numbers have no labels to name."""
    job = run.job
    if job.data is None or not job.trains or not job.kind.row.names_labels or job.kind.row.pipeline is None:
        return None
    return StockPipeline(job.kind.row.pipeline, job.data.label_names, job.kind.head.problem)


def _layer_counts(architecture: Architecture, plan: Plan) -> dict[str, int]:
    """What the exported config must say, stack by stack."""
    kept = [stack.kept for stack in plan.stacks.values()] if plan.stacks else [plan.kept or []]
    return {stack.count_field: len(layers) for stack, layers in zip(architecture.stacks, kept, strict=True)}


def _require(verification: Verification) -> None:
    failed = [f"{check.name}: {check.detail}" for check in verification.checks if not check.passed]
    for other in verification.others:
        if other.passed is False:
            wrong = (f"{check.name}: {check.detail}" for check in other.checks if not check.passed)
            failed.append(f"with {other.named}: {'; '.join(wrong)}")
    if failed or not verification.passed:
        raise LayercutError("verification_failed", "; ".join(failed) or "the verification process said no")


def probe_inputs(run: RunContext, config: PreTrainedConfig) -> dict[str, torch.Tensor]:
    """A few inputs whose logits the exported model must repeat: dev rows, or drawn tokens where there is no data."""
    job = run.job
    if job.dev:
        rows = next(iter(job.dev.values()))
        return collate(rows, np.arange(min(PROBE_ROWS, len(rows))), torch.device("cpu"))
    return made_up_inputs(config, 4, 16, seed=run.job.request.seed)


def _result(report: Report) -> Result:
    return Result(
        layers_total=report.layers.total,
        layers_kept=report.layers.kept,
        layers_dropped=report.layers.dropped,
        parameters_before=report.before.parameters,
        parameters_after=report.after.parameters,
        bytes_before=report.before.bytes,
        bytes_after=report.after.bytes,
        metric=report.task.metric,
        metric_of=report.task.metrics_of.get(report.task.metric or ""),
        score_before=report.before.score,
        score_after=report.after.score,
        retention=report.retention,
        speedup=report.speedup,
        verdict=report.verdict,
        outcome=report.decision.outcome,
        retention_interval=report.retention_interval,
        latency_ms_before=report.before.latency[0].p50_ms if report.before.latency else None,
        latency_ms_after=report.after.latency[0].p50_ms if report.after.latency else None,
        device=report.device.name,
    )


def _usage(report: Report, trainings: Sequence[StageTraining]) -> Usage:
    own = sum(training.result.steps for training in trainings if not training.reused)
    return Usage(
        wall_seconds=round(sum(report.timings.values()), 3),
        peak_memory_bytes=report.peak_memory_bytes,
        training_steps=own + (report.search.spent_steps if report.search else 0),
    )
