"""The model card: the report, for people and for the hub."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import Any

from huggingface_hub import ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from api_schemas.reports import Report
from api_schemas.task_kinds import TASK_KINDS

TAGS = ["layercut", "layer-dropping", "pruned", "safetensors"]

# A class of transformers, by how its name ends, and what the hub calls its use.
PIPELINES = {
    "ForSequenceClassification": "text-classification",
    "ForMaskedLM": "fill-mask",
    "ForCausalLM": "text-generation",
    "GPT2LMHeadModel": "text-generation",
    "ForConditionalGeneration": "text2text-generation",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
}
AUTO_CLASSES = {
    **{row.pipeline: row.auto_class for row in TASK_KINDS.values()},
    "fill-mask": "AutoModelForMaskedLM",
    "text-generation": "AutoModelForCausalLM",
    "text2text-generation": "AutoModelForSeq2SeqLM",
    "question-answering": "AutoModelForQuestionAnswering",
}

# Of a sentence-transformers folder.
EMBEDS = "sentence-similarity"

# Folders whose name says nothing of what lies in them.
GENERIC = re.compile(
    r"(best|checkpoint|final|hf|last|model|output|pretrained|source)([-_](checkpoint|model))?([-_]?\d+)?", re.IGNORECASE
)


def make_card(report: Report) -> str:
    """README.md: front matter that the hub reads, then the report in words and tables."""
    pipeline, name = _pipeline(report), _source_name(report)
    delivered = report.verification.passed is not None
    what = f"with {len(report.layers.kept)} of {report.layers.total} layers" if delivered else "as it is, evaluated"
    title = f"{name} {what}"
    return (
        _templates()
        .get_template("card.md.jinja" if delivered else "evaluation.md.jinja")
        .render(
            front_matter=_front_matter(report, pipeline, title),
            title=title,
            auto_class=AUTO_CLASSES.get(pipeline, "AutoModel"),
            embeds=pipeline == EMBEDS,
            name=name,
            report=report,
            rows=_rows(report),
            score=_score,
        )
    )


def _templates() -> Environment:
    # Not HTML: what must be tamed is Markdown, and `line` does that.
    env = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters["line"] = _line
    return env


def _line(value: Any) -> str:
    """On one line, and nothing in it that Markdown or HTML would act on."""
    text = " ".join(str(value).split())
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", text)


def _front_matter(report: Report, pipeline: str, title: str) -> str:
    task, metric = report.task, report.task.metric
    data = ModelCardData(
        title=title,
        base_model=_hub_id(report),
        license=report.model.license,
        library_name="sentence-transformers" if pipeline == EMBEDS else "transformers",
        pipeline_tag=pipeline,
        tags=TAGS,
        datasets=["nyu-mll/glue"] if report.data and not task.dataset else None,
        metrics=[metric] if metric and report.after.score is not None else None,
    )
    return data.to_yaml()


def _hub_id(report: Report) -> str | None:
    """Where the model came from; None for a folder, which is no hub id and nobody else's business."""
    found = re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", report.model.id)
    return found[0] if found else None


def _source_name(report: Report) -> str:
    """What people call the source: the last part of its id, with the folder's above it where that alone says nothing.

    No more of a path than that: where it lies is nobody else's business.
    """
    path = PurePath(report.model.id)
    generic = _hub_id(report) is None and GENERIC.fullmatch(path.name) and path.parent.name
    name = f"{path.parent.name}/{path.name}" if generic else path.name
    # A title is one line of text, whatever a folder may be called.
    return "".join(character for character in " ".join(name.split()) if character.isprintable())


def _pipeline(report: Report) -> str:
    kind = TASK_KINDS.get(report.task.kind or "")
    if report.training and kind is not None:
        return kind.pipeline
    if report.model.modules:
        return EMBEDS
    classes = report.start.classes if report.start else report.model.classes
    endings = (use for name in classes[:1] for ending, use in PIPELINES.items() if name.endswith(ending))
    return next(endings, "feature-extraction")


def _rows(report: Report) -> list[tuple[str, str, str, str]]:
    """What, before, after, change: one row for each figure that both sides, or at least one, have."""
    before, after, layers = report.before, report.after, report.layers
    rows = [
        ("layers", str(layers.total), str(len(layers.kept)), _change(layers.total, len(layers.kept))),
        ("parameters", f"{before.parameters:,}", f"{after.parameters:,}", _change(before.parameters, after.parameters)),
        ("weights, MB", _mb(before.bytes), _mb(after.bytes), _change(before.bytes, after.bytes)),
    ]
    for name in sorted(before.metrics.keys() | after.metrics.keys()):
        was, now = before.metrics.get(name), after.metrics.get(name)
        shift = f"{now - was:+.2f}" if was is not None and now is not None else ""
        of = report.task.metrics_of.get(name)
        rows.append((f"{name} ({of})" if of else name, _score(was), _score(now), shift))
    if after.scores is not None and after.scores.std is not None:
        spread = [side.scores.std if side.scores else None for side in (before, after)]
        name = f"standard deviation over {len(after.scores.by_seed)} training seeds"
        rows.append((name, _score(spread[0]), _score(spread[1]), ""))
    for one, other in zip(before.latency, after.latency, strict=False):
        name = f"p50 latency, batch {one.batch_size} × {one.sequence_length} tokens, ms"
        rows.append((name, f"{one.p50_ms:.2f}", f"{other.p50_ms:.2f}", f"{one.p50_ms / other.p50_ms:.2f}× as fast"))
    return rows


def _change(before: float, after: float) -> str:
    return f"{(after / before - 1) * 100:+.1f} %" if before else ""


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f}"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
