"""TASK_KINDS: what a model can be for, one row a kind.

A row says what can be known without a model. How rows become features, which head is loaded, what is learnt and how
answers are judged is in the file of the kind's name in ``workers/kinds/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from api_schemas.metrics import METRICS, Metric
from api_schemas.registry import Registry

#: What the label column holds: one class a row, a number, a set of classes, or a class for each word of the text.
LabelForm = Literal["class", "number", "classes", "tags"]

#: What a pruned model is compared with, and learns from: the source trained on the task, or the source as it came.
Teacher = Literal["trained", "source"]

Effort = Literal["quick", "standard", "high"]


@dataclass(frozen=True)
class TaskKind:
    """One kind of task.

    ``labels`` is None where nothing but text is learnt from. ``most_columns``: text columns of a row. ``metrics`` are
    names of METRICS; the first is the score unless another is asked for, ``always`` are measured too. ``strategy`` is
    taken where none is asked for. ``pipeline`` and ``library`` are what the hub calls its use. ``faster``: of the
    paper's learning rate, when it is distilled: a pruned model has more to make up for than a head has to learn, and
    noise holds it. ``small_batches``: whether labels too are learnt in batches that are halved where rows are few: a
    head of many answers learns nothing in the steps that these are in batches of 32 (docs/lab/recovery.md).
    ``recovery`` are defaults of `distill` that differ from those of a classification, ``efforts`` those of each effort;
    fields of ``Recovery``.
    """

    name: str
    summary: str
    labels: LabelForm | None
    most_columns: int
    metrics: tuple[str, ...]
    always: tuple[str, ...] = ()
    strategy: str = "top"
    teacher: Teacher = "trained"
    pipeline: str = "text-classification"
    auto_class: str = "AutoModelForSequenceClassification"
    library: Literal["transformers", "sentence-transformers"] = "transformers"
    faster: float = 1.5
    small_batches: bool = False
    recovery: Mapping[str, Any] = field(default_factory=dict)
    efforts: Mapping[Effort, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def score(self) -> Metric:
        """The metric that is the score where none is asked for."""
        return METRICS[self.metrics[0]]

    @property
    def also(self) -> tuple[str, ...]:
        """Metrics that are measured too, and cannot be the score."""
        return tuple(name for name in self.always if name not in self.metrics)

    @property
    def spoken(self) -> str:
        """The name with its article."""
        return f"{'an' if self.name[0] in 'aeiou' else 'a'} {self.name}"

    @property
    def names_labels(self) -> bool:
        """Whether labels are names, in an order that a head has."""
        return self.labels in ("class", "classes", "tags")


#: Of a classifier: epochs of the recovery, and of the baseline where that is trained.
_EFFORTS: Mapping[Effort, Mapping[str, Any]] = {
    "quick": {"epochs": 1.0, "baseline_epochs": 3.0},
    "standard": {},
    "high": {"epochs": 15.0, "baseline_epochs": 3.0},
}

# fmt: off
TASK_KINDS: Registry[TaskKind] = Registry("task kind", "validation_failed", (
    TaskKind("classification", "One label a row.", "class", 4,
             ("accuracy", "f1", "matthews_correlation"), efforts=_EFFORTS),
    TaskKind("regression", "A number a row.", "number", 4,
             ("pearson", "spearman"), efforts=_EFFORTS),
    TaskKind("multi-label", "Any number of labels a row, none of them included.", "classes", 4,
             ("micro_f1", "macro_f1", "exact_match"), ("micro_f1", "macro_f1", "exact_match"), efforts=_EFFORTS,
             small_batches=True),
    TaskKind("token-classification", "A tag for each word, in the IOB2 scheme.", "tags", 1,
             ("entity_f1", "entity_precision", "entity_recall"), ("entity_f1", "entity_precision", "entity_recall"),
             strategy="top", pipeline="token-classification",
             auto_class="AutoModelForTokenClassification", efforts=_EFFORTS, small_batches=True),
    TaskKind("embedding", "A vector a text: a sentence-transformers folder learns from its own vectors of text without"
             " labels.", None, 1,
             ("cosine", "spearman"), ("cosine", "cosine_p5", "neighbours"), strategy="contribution", teacher="source",
             pipeline="sentence-similarity", auto_class="AutoModel", library="sentence-transformers",
             efforts={"quick": {"epochs": 1.0}, "standard": {}, "high": {"epochs": 12.0}}, faster=3.0,
             recovery={"hidden_weight": 0.0, "noise": 0.0, "batch_size": 16, "warmup_ratio": 0.05}),
))
# fmt: on


def kinds_with(metric: str) -> list[str]:
    """Names of the kinds that can be scored by ``metric``."""
    return [row.name for row in TASK_KINDS.values() if metric in row.metrics]
