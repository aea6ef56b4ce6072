"""TASKS: what GLUE is made of, one row a task.

Label order follows the `nyu-mll/glue` datasets, so an exported head means the same as everyone else's.
"""

from __future__ import annotations

from dataclasses import dataclass

from api_schemas.registry import Registry


@dataclass(frozen=True)
class Task:
    """One GLUE task.

    ``columns`` are the text columns and ``label_column`` the gold label, by the names of the official TSV;
    ``hub_columns`` the text columns in `nyu-mll/glue`, where they differ. ``labels`` are in id order, as the TSV
    writes them; ``label_names`` are for people. A regression has no labels. ``splits`` maps a dev split to its
    file stem; the first is the one that the score is taken on. ``header`` is given where the file has none.
    ``unlabelled`` is what stands where the annotators did not agree: such rows are left out, as GLUE itself does.
    """

    name: str
    folder: str
    columns: tuple[str, ...]
    label_column: str
    metrics: tuple[str, ...]
    hub_columns: tuple[str, ...]
    labels: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()
    splits: tuple[tuple[str, str], ...] = (("validation", "dev"),)
    header: tuple[str, ...] | None = None
    unlabelled: str | None = None

    @property
    def headline(self) -> str:
        """The metric that is the score."""
        return self.metrics[0]

    @property
    def kind(self) -> str:
        """A name of TASK_KINDS."""
        return "classification" if self.labels else "regression"


_NLI2 = ("entailment", "not_entailment")
_01 = ("0", "1")
_PAIR = ("sentence1", "sentence2")

TASKS: Registry[Task] = Registry(
    "task",
    "unknown_task",
    (
        Task(
            "cola",
            "CoLA",
            ("sentence",),
            "label",
            ("matthews_correlation", "accuracy"),
            ("sentence",),
            _01,
            ("unacceptable", "acceptable"),
            header=("source", "label", "original_label", "sentence"),
        ),
        Task("sst2", "SST-2", ("sentence",), "label", ("accuracy",), ("sentence",), _01, ("negative", "positive")),
        Task(
            "mrpc",
            "MRPC",
            ("#1 String", "#2 String"),
            "Quality",
            ("accuracy", "f1"),
            _PAIR,
            _01,
            ("not_equivalent", "equivalent"),
        ),
        Task("stsb", "STS-B", _PAIR, "score", ("pearson", "spearman"), _PAIR),
        Task(
            "qqp",
            "QQP",
            ("question1", "question2"),
            "is_duplicate",
            ("accuracy", "f1"),
            ("question1", "question2"),
            _01,
            ("not_duplicate", "duplicate"),
        ),
        Task(
            "mnli",
            "MNLI",
            _PAIR,
            "gold_label",
            ("accuracy",),
            ("premise", "hypothesis"),
            ("entailment", "neutral", "contradiction"),
            ("entailment", "neutral", "contradiction"),
            splits=(("validation_matched", "dev_matched"), ("validation_mismatched", "dev_mismatched")),
            unlabelled="-",
        ),
        Task("qnli", "QNLI", ("question", "sentence"), "label", ("accuracy",), ("question", "sentence"), _NLI2, _NLI2),
        Task("rte", "RTE", _PAIR, "label", ("accuracy",), _PAIR, _NLI2, _NLI2),
        Task("wnli", "WNLI", _PAIR, "label", ("accuracy",), _PAIR, _01, ("not_entailment", "entailment")),
    ),
)
# fmt: on
