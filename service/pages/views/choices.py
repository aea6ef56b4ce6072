"""What can be chosen from in a form: straight from the tables, and from what the tenant has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from api_schemas.formats import FORMATS, PLAIN
from api_schemas.jobs import Job, Status
from api_schemas.strategies import STRATEGIES
from api_schemas.task_kinds import TASK_KINDS
from api_schemas.tasks import TASKS
from api_schemas.uploads import Dataset, Model
from service.pages.views.jobs import model_name
from service.pages.words import plural, size


@dataclass(frozen=True)
class Choice:
    value: str
    text: str
    #: A sentence about it.
    means: str = ""


#: What each GLUE task asks of a model; names of TASKS.
ASKS = {
    "cola": "is the sentence acceptable?",
    "sst2": "is the review positive?",
    "mrpc": "do both sentences say the same?",
    "stsb": "how alike are both sentences?",
    "qqp": "do both questions ask the same?",
    "mnli": "does one sentence follow from the other?",
    "qnli": "does the sentence answer the question?",
    "rte": "does one sentence follow from the other?",
    "wnli": "what does the pronoun mean?",
}

STRATEGY_CHOICES = [Choice(row.name, row.name, f"{row.summary} {row.when}") for row in STRATEGIES.values()]
TASK_CHOICES = [
    Choice(row.name, f"{row.folder}: {ASKS[row.name]}" if row.name in ASKS else row.folder) for row in TASKS.values()
] + [Choice("none", "none: only take layers out")]
KIND_CHOICES = [Choice("auto", "auto: told from the data")] + [
    Choice(row.name, row.name, row.summary) for row in TASK_KINDS.values()
]
METHOD_CHOICES = [
    Choice("", "auto"),
    Choice("distill", "distill: learn from the full model"),
    Choice("finetune", "finetune: train on the labels, as the paper does"),
    Choice("none", "none: train nothing"),
]
EFFORT_CHOICES = [
    Choice("", "auto"), Choice("quick", "quick"), Choice("standard", "standard"), Choice("high", "high"),
]  # fmt: skip
DTYPE_CHOICES = [Choice("", "as the model has it"), Choice("float32", "float32"), Choice("float16", "float16"),
                 Choice("bfloat16", "bfloat16")]  # fmt: skip
FORMAT_CHOICES = [Choice(row.name, row.name, row.summary) for row in FORMATS.values() if row.name != PLAIN]
AMOUNT_CHOICES = [
    Choice("", "a third of them"),
    Choice("drop", "this many"),
    Choice("drop_ratio", "this share"),
    Choice("min_retention", "as many as keep this share of the score (auto)"),
    Choice("target_params", "until it has this many parameters"),
    Choice("drop_layers", "these layers, by number (explicit)"),
    Choice("keep_layers", "all but these layers (explicit)"),
]

#: Of a study: boxes have short words.
STUDY_TASKS = [Choice(row.name, row.folder, ASKS.get(row.name, "")) for row in TASKS.values()] + [
    Choice("none", "none", "only take layers out")
]
STUDY_STRATEGIES = [choice for choice in STRATEGY_CHOICES if choice.value not in ("explicit", "none")]
STUDY_METHODS = [Choice(choice.value, choice.value, choice.text) for choice in METHOD_CHOICES if choice.value]
STUDY_EFFORTS = [choice for choice in EFFORT_CHOICES if choice.value]
IMPOSSIBLE_CHOICES = [
    Choice("refuse", "refuse the study, and say which they are"),
    Choice("skip", "skip them, with the reason in the table"),
]


@dataclass(frozen=True)
class Own:
    """What the tenant has that a form can name."""

    models: list[Choice]
    datasets: list[Choice]


def own_choices(models: Iterable[Model], datasets: Iterable[Dataset], jobs: Iterable[Job]) -> Own:
    jobs = list(jobs)
    uploaded = [Choice(one.source, f"{upload_name(one)} · upload, {size(one.bytes)}") for one in models]
    delivered = [_delivered(job) for job in jobs if job.status is Status.SUCCEEDED and job.result is not None]
    named = {job.model: Choice(job.model, "used before") for job in jobs if not job.model.startswith("job:")}
    taken = {choice.value for choice in uploaded}
    return Own(
        models=[*uploaded, *(one for value, one in named.items() if value not in taken), *delivered],
        datasets=[Choice(one.source, f"{upload_name(one)} · {_rows(one)}") for one in datasets],
    )


def upload_name(upload: Model | Dataset) -> str:
    if upload.name:
        return upload.name
    first = upload.files[0].name if upload.files else upload.id
    return first if len(upload.files) < 2 else f"{first} and {plural(len(upload.files) - 1, 'file')} more"


def _delivered(job: Job) -> Choice:
    kept = len(job.result.layers_kept) if job.result else 0
    task = job.task.rpartition("/")[2] or job.task
    return Choice(f"job:{job.id}", f"{model_name(job.model)} with {plural(kept, 'layer')}, for {task}")


def _rows(dataset: Dataset) -> str:
    rows = dataset.inspection.rows if dataset.inspection else None
    return "table" if rows is None else plural(rows, "row")
