"""What is learnt where labels are missing: from the teacher in full, and from nothing where there is nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sources.rows import RaggedLabels, Rows, zeros
from tests.support.tiny_models import tiny_tokenizer
from tests.support.trainings import CPU, RECOVERY
from workers.data.features import Features, encode
from workers.kinds.kind import Kind
from workers.kinds.table import plain_kind
from workers.training.objectives.losses import StudentOutput, TrainingObjective, distillation_objective
from workers.training.objectives.teacher import known_targets

TAGS, TOPICS = plain_kind("token-classification", ("A", "B", "C")), plain_kind("multi-label", ("A", "B", "C"))
GIVEN: dict[str, tuple[Kind, Any, Any]] = {
    "token-classification": (TAGS, [("the", "plot"), ("wit",)], RaggedLabels([[0, 2], [1]])),
    "multi-label": (TOPICS, [("the plot",), ("wit",)], RaggedLabels([[0, 2], []])),
    "classification": (plain_kind("classification", ("A", "B", "C")), [("the plot",), ("wit",)], [2, 1]),
}


def _objective(kind: Kind, features: Features, aim: torch.Tensor, label_weight: float) -> TrainingObjective:
    recovery = RECOVERY.model_copy(update={"label_weight": label_weight, "method": "distill"})
    return distillation_objective(kind, known_targets(aim.numpy(), features, CPU), [], features, recovery, device=CPU)


@pytest.mark.parametrize("name", GIVEN)
def test_rows_without_labels_learn_from_the_teacher_in_full(name: str) -> None:
    kind, texts, labels = GIVEN[name]
    train = encode(tiny_tokenizer("bert"), Rows(texts, labels, "made", "0" * 64), 32, kind.shape)
    rest = encode(tiny_tokenizer("bert"), Rows(texts, zeros(2), "made", "0" * 64), 32, kind.shape, labelled=False)
    features = train.joined(rest)
    draw = torch.Generator().manual_seed(0)
    values, aim = (torch.randn(len(features.labels), 3, generator=draw) for _ in range(2))

    def loss(rows: list[int], label_weight: float) -> float:
        at = np.array(rows)
        objective = _objective(kind, features, aim, label_weight)
        return objective.loss(StudentOutput({}, values[features.places(at)], ()), at).item() * len(rows)

    assert loss([2, 3], 0.75) == pytest.approx(loss([2, 3], 0.0), rel=1e-5)
    assert loss([0, 1], 0.75) != pytest.approx(loss([0, 1], 0.0), rel=1e-4)
    assert loss([0, 1, 2, 3], 0.75) == pytest.approx(loss([0, 1], 0.75) + loss([2, 3], 0.0), rel=1e-5)


@pytest.mark.parametrize("label_weight", [0.0, 0.5])
def test_a_batch_without_a_word_is_learnt_nothing_from(label_weight: float) -> None:
    """A mean over no words is not a number, and one such batch is the end of a training."""
    rows = Rows([("wit",), ("\u200b",)], RaggedLabels([[1], [2]]), "made", "0" * 64)
    features = encode(tiny_tokenizer("bert"), rows, 32, TAGS.shape)
    aim = torch.randn(len(features.ids), 3, generator=torch.Generator().manual_seed(0))
    at = np.array([1])
    values = torch.zeros(len(features.places(at)), 3, requires_grad=True)
    loss = _objective(TAGS, features, aim, label_weight).loss(StudentOutput({}, values, ()), at)
    loss.backward()
    assert loss.item() == 0
    assert values.grad is not None
    assert not values.grad.any()
