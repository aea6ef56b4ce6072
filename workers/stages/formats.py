"""Further formats of the exported model: written beside it, and each measured as a user would run it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import torch
from transformers import PreTrainedModel

from api_schemas.architectures import ModelFacts
from api_schemas.errors import LayercutError
from api_schemas.formats import FORMATS, PARAM, PLAIN, Format, further
from api_schemas.reports import FormatReport, Latency, Measurements
from workers.evaluation import latency
from workers.evaluation.scores import Scores
from workers.export.files import as_exported
from workers.export.formats.session import OnnxModel
from workers.export.formats.writers import write_formats
from workers.runtime.device import describe
from workers.runtime.host import host_memory
from workers.runtime.sentence_modules import SentenceModules
from workers.stages.measure import score
from workers.stages.run_context import RunContext

CPU = torch.device("cpu")
#: Of a model in float32, that there is room for while a graph is made of it: the copy that is followed, its tensors in
#: the graph, the message that is written, and what reads it again.
COPIES, FLOAT32_BYTES = 4, 4


def check_formats_here(names: Sequence[str], facts: ModelFacts, *, mapped: bool) -> None:
    """Raise for a format that cannot be written here: ``format_unavailable`` where a package is missing,
    ``export_failed`` where there is no room for it. At the start, and not after the training.
    """
    for row in further(names):
        if not all(find_spec(name) for name in row.needs):
            raise LayercutError(
                "format_unavailable",
                f"this worker cannot write {row.name}: it needs layercut[{row.extra}]. Leave the format out, or ask"
                " again when another worker runs",
                param=PARAM,
            )
        needed, free = COPIES * FLOAT32_BYTES * (facts.parameters or 0), host_memory()
        if mapped or needed > free:
            raise LayercutError(
                "export_failed",
                f"{row.name} takes about {needed / 1e9:.1f} GB of memory to make of this model, and this worker has"
                f" {free / 1e9:.1f} free: leave the format out, or use a larger worker",
                param=PARAM,
            )


def write_further(run: RunContext, formats: Sequence[Format], model: PreTrainedModel, folder: Path) -> None:
    """Write ``formats`` of ``model`` into ``folder``, as ``write_formats`` does."""
    job = run.job
    if not formats:
        return
    run.progress.log(f"writing {', '.join(row.name for row in formats)}")
    pooling = None if job.modules is None else SentenceModules(job.folder, CPU)
    followed = model if pooling is None else cast("PreTrainedModel", model.base_model)
    inputs = job.tokenizer.model_input_names
    write_formats(formats, followed, folder, inputs=inputs, pooling=pooling, done=run.progress.part)


def measure_formats(
    run: RunContext,
    formats: Sequence[Format],
    model: PreTrainedModel,
    folder: Path,
    *,
    before: PreTrainedModel,
    after: Measurements,
) -> list[FormatReport]:
    """Size, score and speed of each of ``formats`` in ``folder``, and of the safetensors that were scored as ``after``;
    ``before`` is what a kind without labels is judged by.

    A score that is further off than the job's margin is told in a warning.
    """
    if not formats:
        return []
    models = [OnnxModel(folder / row.file, model.config) for row in formats]
    # They are called as it is, and give what it gives.
    runnable = [as_exported(model, run.job.dtype), *(cast("PreTrainedModel", each) for each in models)]
    timed = latency.measure(runnable, run.job.latency_cells, device=CPU, done=run.progress.part)
    plain = _plain(run, after, timed[0], folder)
    found = [plain]
    for row, each, times in zip(formats, runnable[1:], timed[1:], strict=True):
        run.progress.log(f"measuring {row.name}")
        scores = score(run, each, before) if run.job.scored else None
        found.append(_measured(row, scores, times, folder))
        warning = lost(plain, found[-1], run.job.request.evaluation.margin)
        if warning is not None:
            run.progress.warn(warning)
    return found


def _plain(run: RunContext, after: Measurements, times: list[Latency], folder: Path) -> FormatReport:
    """What is told of the others is compared with that. Metrics are those of the one seed that they have, too."""
    own = after.scores.by_seed.get(run.seed) if after.scores else None
    alone = after.scores is not None and len(after.scores.by_seed) == 1
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    return FormatReport(
        name=PLAIN,
        files=files,
        bytes=sum((folder / name).stat().st_size for name in files),
        score=own,
        metrics=after.metrics if alone else {},
        undefined=after.undefined if alone else {},
        latency=times,
        device=describe(CPU),
    )


def _measured(row: Format, scores: Scores | None, times: list[Latency], folder: Path) -> FormatReport:
    files = [name for name in row.files if (folder / name).exists()]
    return FormatReport(
        name=row.name,
        files=files,
        bytes=sum((folder / name).stat().st_size for name in files),
        score=scores.score if scores else None,
        metrics=scores.metrics if scores else {},
        undefined=scores.undefined if scores else {},
        latency=times,
        device=describe(CPU),
    )


def lost(plain: FormatReport, found: FormatReport, margin: float) -> str | None:
    """What a format loses of the score, where that is more than the share ``margin`` of it."""
    if plain.score is None:
        return None
    if found.score is None:
        return f"{found.name} has no score, where {PLAIN} has {plain.score:.2f}: {'; '.join(found.undefined.values())}"
    points, allowed = plain.score - found.score, abs(plain.score) * margin
    if points <= allowed:
        return None
    return (
        f"{found.name} scores {found.score:.2f}, {points:.2f} points less than {PLAIN} ({plain.score:.2f}), and"
        f" {allowed:.2f} may be lost: {FORMATS[found.name].file} is not as good a model"
    )
