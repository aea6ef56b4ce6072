"""What stands at the top of a model card for the hub, by the hub's own classes: whose model it is, and its scores."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from api_schemas.cards import HUB_ID
from api_schemas.formats import PLAIN
from api_schemas.metrics import METRICS
from api_schemas.reports import Report
from api_schemas.task_kinds import TASK_KINDS
from api_schemas.tasks import TASKS

GLUE = "nyu-mll/glue"
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
#: What loads a model of that use.
AUTO_CLASSES = {
    **{row.pipeline: row.auto_class for row in TASK_KINDS.values()},
    "fill-mask": "AutoModelForMaskedLM",
    "text-generation": "AutoModelForCausalLM",
    "text2text-generation": "AutoModelForSeq2SeqLM",
    "question-answering": "AutoModelForQuestionAnswering",
}

# Of a sentence-transformers folder.
EMBEDS = "sentence-similarity"

#: Tags of a source that say which files it has: what is delivered has its own.
OF_FILES = frozenset(
    {"pytorch", "tf", "jax", "rust", "onnx", "openvino", "coreml", "gguf", "tflite", "safetensors", "transformers.js"}
)


def front_matter(report: Report, pipeline: str, title: str) -> str:
    """The YAML at the top of the card of a model for the use ``pipeline``. What the source's card says of language,
    data and license holds for what is made of it, too.
    """
    card, scored = report.card, report.after.score is not None
    source, license = hub_id(report), report.model.license or card.license
    results, other = list(_results(report, pipeline)), license == "other"
    data = ModelCardData(
        title=title,
        base_model=source or _one_or_many(card.base_model),
        language=_one_or_many(card.language),
        license=license,
        license_name=card.license_name if other else None,
        license_link=card.license_link if other else None,
        library_name="sentence-transformers" if pipeline == EMBEDS else "transformers",
        pipeline_tag=pipeline,
        tags=list(dict.fromkeys([*TAGS, *_of_formats(report), *(tag for tag in card.tags if tag not in OF_FILES)])),
        datasets=_datasets(report),
        metrics=[report.task.metric] if report.task.metric and scored else None,
        # Of no results the hub's class makes a list that the hub refuses.
        model_name=title if results else None,
        eval_results=results or None,
    )
    return data.to_yaml()


def hub_id(report: Report) -> str | None:
    """Where the model came from; None for a folder, which is no hub id and nobody else's business."""
    found = re.fullmatch(HUB_ID, report.model.id)
    return found[0] if found else None


def pipeline_of(report: Report) -> str:
    """What the hub calls the model's use: that of its task, or of its class, or what the source says of itself."""
    kind = TASK_KINDS.get(report.task.kind or "")
    if report.training and kind is not None:
        return kind.pipeline
    if report.model.modules:
        return EMBEDS
    classes = report.start.classes if report.start else report.model.classes
    endings = (use for name in classes[:1] for ending, use in PIPELINES.items() if name.endswith(ending))
    return next(endings, report.card.pipeline_tag or "feature-extraction")


def _one_or_many(found: list[str]) -> Any:
    return found[0] if len(found) == 1 else found or None


def _of_formats(report: Report) -> list[str]:
    return ["onnx"] if any(row.name != PLAIN for row in report.formats) else []


def _datasets(report: Report) -> list[str] | None:
    """The source's, and what this model learnt from."""
    own = [GLUE] if report.data and report.task.name in TASKS else []
    return list(dict.fromkeys([*report.card.datasets, *own])) or None


def _results(report: Report, pipeline: str) -> Iterator[EvalResult]:
    """Each score of the model after, on the data that it is of."""
    for name, value in report.after.metrics.items():
        metric, split = _parted(name)
        if value is not None:
            yield EvalResult(
                task_type=pipeline,
                **_data_of(report, metric, split),
                metric_type=metric,
                metric_name=name,
                metric_value=round(value, 4),
            )


def _parted(name: str) -> tuple[str, str]:
    """The metric and, of a second split, that: `accuracy_validation_mismatched` is called by both."""
    metric = max((known for known in METRICS if name.startswith(known)), key=len, default=name)
    return metric, name.removeprefix(metric).removeprefix("_")


def _data_of(report: Report, metric: str, split: str) -> dict[str, Any]:
    """What the hub calls the data; of files of the user's own, the name that the report has for them."""
    pairs = report.task.pairs if metric == "spearman" and report.task.kind == "embedding" else None
    name = report.task.name if pairs is None else pairs.label
    row = TASKS.get(name)
    if row is None:
        plain = " ".join(re.findall(r"[\w.()+-]+", name)) or "own data"
        return {"dataset_type": plain.replace(" ", "-"), "dataset_name": plain, "dataset_split": split or "dev"}
    own = {"dataset_type": GLUE, "dataset_name": f"GLUE {row.folder}", "dataset_config": row.name}
    return {**own, "dataset_split": split or row.splits[0][0]}
