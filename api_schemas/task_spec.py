"""The ``task`` of a request: a GLUE task, the user's own table, or none."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, RootModel, model_validator

from api_schemas.errors import LayercutError
from api_schemas.labels import LONGEST_LABEL, label_key, label_text
from api_schemas.metrics import METRICS, Metric
from api_schemas.read_spec import Character, ReadSpec
from api_schemas.request_parts import Auto, Column, DataPath, Name, OrString, Positive, Request
from api_schemas.task_kinds import TASK_KINDS, TaskKind, kinds_with
from api_schemas.tasks import TASKS, Task

MAX_LABELS = 1000

#: Files of a word and its tags a line, with an empty line after each sentence.
CONLL_SUFFIXES = (".conll", ".bio", ".iob")


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


class PairsSpec(OrString):
    """Pairs of texts with a number that says how alike people find them. As a plain string, it is a GLUE task."""

    name: Name | None = Field(default=None, description="`stsb`: the dev split of STS-B")
    dataset: DataPath | None = Field(
        default=None, description="CSV, TSV, JSON, JSONL or Parquet, named as `task.dataset` is"
    )
    text_columns: list[Column] = Field(default=[], max_length=2, description="two; by default sentence1 and sentence2")
    label_column: Column | None = Field(default=None, description="the number; by default score")
    read: ReadSpec = ReadSpec()

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_source(self) -> PairsSpec:
        if (self.name is None) == (self.dataset is None):
            raise _refusal("pairs are a GLUE task's or a dataset of your own: give name or dataset", "/pairs")
        row = TASKS.find(self.name, "/task/pairs") if self.name is not None else None
        if row is not None and (row.kind != "regression" or len(row.columns) != 2):
            raise _refusal(f"{row.name!r} has no pairs of texts with a number; stsb has", "/pairs")
        if row is not None:
            _check_own_fields(
                f"pairs of {row.name!r} have their", self, ("text_columns", "label_column", "read"), "/pairs"
            )
        if len(self.text_columns) == 1:
            raise _refusal("a pair has two texts: give two columns", "/pairs/text_columns")
        return self


class TaskSpec(OrString):
    """A GLUE task by name, the user's own table, or ``none``. As a plain string, it is the name."""

    name: Name | None = Field(default=None, description="a name of GET /v1/tasks, or `none`")
    dataset: DataPath | None = Field(
        default=None,
        description="CSV, TSV, JSON, JSONL or Parquet: a file under an allowed root, `upload:<id>` or an address of an"
        " object store (`s3://`, `gs://`, `az://`); or a folder or prefix of train and dev",
    )
    dev: DataPath | None = Field(
        default=None, description="file to score on, named as `dataset` is; by default a seeded tenth of the rows"
    )
    text_columns: list[Column] = Field(
        default=[],
        max_length=4,
        description="two are the tokenizer's pair; of more, all after the first are joined with its separator",
    )
    label_column: Column | None = None
    label_columns: list[Column] = Field(
        default=[],
        max_length=MAX_LABELS,
        description="of `multi-label`, in place of label_column: a column of 0 and 1 for each label",
    )
    label_separator: Character | None = Field(
        default=None,
        description="of `multi-label`: what stands between labels of a cell that is no JSON list; by default a comma",
    )
    kind: Name | Auto = Field(
        default="auto",
        description="a name of GET /v1/tasks `kinds`. auto: by `metric` where that is given; else classification, and"
        " labels that are numbers with decimals are refused",
    )
    pairs: PairsSpec | None = Field(
        default=None, description="of `embedding`: pairs that its vectors' cosines are compared with, after training"
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
        own = (
            "dev", "text_columns", "label_column", "label_columns", "label_separator", "labels", "positive_label",
            "metric", "dev_read", "pairs", "kind", "read",
        )  # fmt: skip
        _check_own_fields(f"task {name!r} has its", self, own, "")

    def _check_own(self) -> None:
        if self.metric is not None:
            METRICS.find(self.metric, "/task/metric")
        if self.kind != "auto":
            TASK_KINDS.find(self.kind, "/task/kind")
        kind = TASK_KINDS[self.decided_kind]
        if kind.labels is not None and self.pairs is not None:
            hint = "; give kind 'embedding'" if self.kind == "auto" else ""
            raise _refusal(f"pairs are for an embedding model; this is {kind.spoken}{hint}", "/pairs")
        self._check_columns(kind)
        if self.metric is not None and self.metric not in kind.metrics:
            raise _refusal(
                f"the metric {self.metric!r} is not for {kind.spoken}, which has: {', '.join(kind.metrics)}", "/metric"
            )
        if not kind.names_labels and (self.labels or self.positive_label):
            field = "labels" if self.labels else "positive_label"
            learns = "numbers" if kind.labels == "number" else "from text alone"
            raise _refusal(f"{kind.spoken} learns {learns} and has no {field}", f"/{field}")
        if kind.labels is None and self.metric == "spearman" and self.pairs is None:
            raise _refusal("spearman is of pairs: give task.pairs", "/metric")
        self._check_labels()

    def check_files(self) -> None:
        """Raise ``validation_failed`` where the names of the files, once they are known, say more than the request."""
        if self.dataset is not None:
            self._check_columns(TASK_KINDS[self.decided_kind])

    def _check_columns(self, kind: TaskKind) -> None:
        self._check_label_columns(kind)
        if self.is_conll:
            self._check_conll(kind)
        elif kind.labels is not None and not self._may_be_conll(kind):
            labelled = self.label_column or self.label_columns
            for field, given in (("text_columns", self.text_columns), ("label_column", labelled)):
                if not given:
                    raise _refusal(f"a dataset needs {field}", f"/{field}")
        if len(self.text_columns) > kind.most_columns:
            raise _refusal(
                f"{kind.spoken} reads {kind.most_columns} text column, and {len(self.text_columns)} are given",
                "/text_columns",
            )

    def _may_be_conll(self, kind: TaskKind) -> bool:
        """A folder may hold CoNLL files, which have no names of columns; whether it does is seen when it is read."""
        named = self.text_columns or self.label_column
        return kind.labels == "tags" and not named and not PurePosixPath(self.dataset or "").suffix

    def _check_label_columns(self, kind: TaskKind) -> None:
        for field in ("label_columns", "label_separator"):
            if kind.labels != "classes" and getattr(self, field):
                raise _refusal(f"{field} is for multi-label; this is {kind.spoken}", f"/{field}")
        if self.label_columns and (self.label_column or self.label_separator):
            other = "label_column" if self.label_column else "label_separator"
            raise _refusal(f"label_columns and {other} exclude each other", f"/{other}")
        if kind.labels is None and self.label_column:
            raise _refusal(
                f"{kind.spoken} learns from text alone and has no label_column (task.pairs has one)", "/label_column"
            )

    def _check_conll(self, kind: TaskKind) -> None:
        if kind.labels != "tags":
            raise _refusal(f"a CoNLL file is for token-classification; this is {kind.spoken}", "/dataset")
        for field in ("text_columns", "label_column"):
            if getattr(self, field):
                raise _refusal(
                    f"a CoNLL file has no names of columns: words are the first, tags the last; leave {field} out",
                    f"/{field}",
                )

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
    def is_conll(self) -> bool:
        """Whether the dataset is a file, and not a table, of words and tags."""
        return (self.dataset or "").lower().endswith(CONLL_SUFFIXES)

    @property
    def decided_kind(self) -> str:
        """Of a task that trains, a name of TASK_KINDS. Never guessed to be a regression: numbers may name classes."""
        if self.kind != "auto":
            return self.kind
        if self.glue:
            return self.glue.kind
        kinds = kinds_with(self.metric) if self.metric else []
        return kinds[0] if kinds else "classification"

    @property
    def task_kind(self) -> TaskKind | None:
        """The row of TASK_KINDS; None where there is nothing to learn from."""
        return TASK_KINDS[self.decided_kind] if self.trains else None

    @property
    def label_names(self) -> list[str]:
        """The data's labels as far as the request names them."""
        return list(self.labels.root.values() if isinstance(self.labels, LabelMap) else self.labels or ())

    @property
    def headline(self) -> Metric | None:
        """The metric that is the score."""
        if self.glue:
            return METRICS[self.glue.headline]
        kind = self.task_kind
        if kind is None or self.metric is not None:
            return METRICS[self.metric] if self.metric else None
        return METRICS["spearman"] if self.pairs else kind.score

    @property
    def label(self) -> str:
        """What the task is called in lists."""
        return self.name or (self.dataset or "").rsplit("/", 1)[-1]


def _refusal(message: str, field: str) -> LayercutError:
    return LayercutError("validation_failed", message, param=f"/task{field}")


def _check_own_fields(whose: str, spec: Request, fields: tuple[str, ...], at: str) -> None:
    """That nothing is said of what is known of data that has a name."""
    wrong = [name for name in fields if getattr(spec, name) != type(spec).model_fields[name].default]
    if wrong:
        raise _refusal(f"{whose} own {wrong[0]}", f"{at}/{wrong[0]}")
