"""The ``task`` of a request: a GLUE task, the user's own table, or none."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, RootModel, model_validator

from api_schemas.errors import LayercutError
from api_schemas.labels import LONGEST_LABEL, label_key, label_text
from api_schemas.read_spec import ReadSpec
from api_schemas.request_parts import Auto, Column, DataPath, Name, OrString, Positive
from api_schemas.tasks import METRICS, TASKS, Metric, Task

Kind = Literal["classification", "regression"]

MAX_LABELS = 1000


def _as_label(value: Any) -> Any:
    """Numbers and truth values may be sent as such."""
    return label_text(value) or value if isinstance(value, (bool, int, float, str)) else value


Label = Annotated[str, Field(min_length=1, max_length=LONGEST_LABEL), BeforeValidator(_as_label)]
#: Of a head.
Word = Annotated[str, Field(max_length=LONGEST_LABEL)]
LabelList = Annotated[list[Label], Field(min_length=2, max_length=MAX_LABELS)]


class LabelMap(RootModel[Annotated[dict[Word, Label], Field(min_length=2, max_length=MAX_LABELS)]]):
    """From each word of a head to the label of the data that it means."""

    model_config = ConfigDict(strict=True)


class TaskSpec(OrString):
    """A GLUE task by name, the user's own table, or ``none``. As a plain string, it is the name."""

    name: Name | None = Field(default=None, description="a name of GET /v1/tasks, or `none`")
    dataset: DataPath | None = Field(
        default=None,
        description="CSV, TSV, JSON, JSONL or Parquet file under an allowed root, or a folder of train and dev",
    )
    dev: DataPath | None = Field(
        default=None, description="file to score on; without it a seeded tenth of the rows is kept aside"
    )
    text_columns: list[Column] = Field(
        default=[],
        max_length=4,
        description="two are the tokenizer's pair; of more, all after the first are joined with its separator",
    )
    label_column: Column | None = None
    kind: Kind | Auto = Field(
        default="auto",
        description="auto: by `metric` where that is given; else classification, and labels that are numbers with"
        " decimals are refused",
    )
    labels: LabelList | LabelMap | None = Field(
        default=None,
        description="the labels of the data in the order of the head's outputs; or, for a head that has words of its"
        " own, from each of these to the label of the data that it means",
    )
    positive_label: Label | None = Field(
        default=None, description="of two labels, the one that f1 is of; without it f1 is of 1, true, yes or positive,"
        " and where no label is one of these the mean of each label's f1",
    )  # fmt: skip
    metric: Name | None = Field(
        default=None,
        description="a name of GET /v1/tasks `metrics`; by default accuracy, or pearson for a regression",
    )
    max_train_rows: Positive | None = Field(default=None, description="train on a seeded sample of this many rows")
    read: ReadSpec = ReadSpec()
    dev_read: ReadSpec | None = Field(default=None, description="of the dev file, where it is written otherwise")

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_kind(self) -> TaskSpec:
        if (self.name is None) == (self.dataset is None):
            raise _refusal("a task is a GLUE name or a dataset of your own: give name or dataset", "")
        if self.name is not None:
            self._check_named(self.name)
        else:
            self._check_own()
        return self

    def _check_named(self, name: str) -> None:
        if name != "none":
            TASKS.find(name, "/task")
        own = ("dev", "text_columns", "label_column", "labels", "positive_label", "metric", "dev_read")
        wrong = [field for field in own if getattr(self, field)]
        wrong += [field for field, unset in (("kind", "auto"), ("read", ReadSpec())) if getattr(self, field) != unset]
        if wrong:
            raise _refusal(f"task {name!r} has its own {wrong[0]}", f"/{wrong[0]}")

    def _check_own(self) -> None:
        for field in ("text_columns", "label_column"):
            if not getattr(self, field):
                raise _refusal(f"a dataset needs {field}", f"/{field}")
        if self.metric is not None:
            METRICS.find(self.metric, "/task/metric")
        kind = self.decided_kind
        if self.metric is not None and METRICS[self.metric].regression != (kind == "regression"):
            raise _refusal(f"the metric {self.metric!r} is not for a {kind}", "/metric")
        if kind == "regression" and (self.labels or self.positive_label):
            field = "labels" if self.labels else "positive_label"
            raise _refusal(f"a regression learns numbers and has no {field}", f"/{field}")
        self._check_labels()

    def _check_labels(self) -> None:
        names = self.label_names
        keys = [label_key(name) for name in names]
        twice = [name for name, key in zip(names, keys, strict=True) if keys.count(key) > 1]
        if twice:
            raise _refusal(f"the label {twice[0]!r} is listed twice", "/labels")
        if self.positive_label is None:
            return
        if self.headline != METRICS["f1"]:
            raise _refusal("positive_label says which label's f1 is meant: it goes with metric f1", "/positive_label")
        if names and label_key(self.positive_label) not in keys:
            raise _refusal(f"{self.positive_label!r} is none of task.labels", "/positive_label")

    @property
    def glue(self) -> Task | None:
        return TASKS[self.name] if self.name and self.name != "none" else None

    @property
    def trains(self) -> bool:
        """Whether there is data to learn from."""
        return self.name != "none"

    @property
    def decided_kind(self) -> Kind:
        """Of a task that trains. A regression is never guessed: numbers may be names of classes."""
        if self.kind != "auto":
            return self.kind
        metric = self.glue.headline if self.glue else self.metric
        return "regression" if metric is not None and METRICS[metric].regression else "classification"

    @property
    def label_names(self) -> list[str]:
        """The data's labels as far as the request names them."""
        return list(self.labels.root.values() if isinstance(self.labels, LabelMap) else self.labels or ())

    @property
    def headline(self) -> Metric | None:
        """The metric that is the score."""
        if self.glue:
            return METRICS[self.glue.headline]
        default = "pearson" if self.trains and self.decided_kind == "regression" else "accuracy"
        return METRICS[self.metric or default] if self.trains else None

    @property
    def label(self) -> str:
        """What the task is called in lists."""
        return self.name or (self.dataset or "").rsplit("/", 1)[-1]


def _refusal(message: str, field: str) -> LayercutError:
    return LayercutError("validation_failed", message, param=f"/task{field}")
