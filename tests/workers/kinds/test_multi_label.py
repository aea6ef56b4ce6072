"""Any number of labels a row: scores are scikit-learn's, and each label is learnt as a yes or a no of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch.distributions import Bernoulli, kl_divergence

from sources.rows import RaggedLabels, Rows, zeros
from tests.support.tiny_models import build, tiny_tokenizer
from tests.support.trainings import CPU, RECOVERY
from workers.data.features import encode
from workers.evaluation import metrics
from workers.evaluation.metrics import MetricLabels
from workers.evaluation.scores import answers_of
from workers.evaluation.weighted import pool
from workers.kinds.table import plain_kind
from workers.training.loop import train
from workers.training.objectives.losses import label_objective

NAMES = ("fast", "late", "never", "rude")
TOPICS = plain_kind("multi-label", NAMES)
OF_SKLEARN = {
    "micro_f1": lambda gold, guess: sk.f1_score(gold, guess, average="micro", zero_division=0),
    "macro_f1": lambda gold, guess: sk.f1_score(gold, guess, average="macro", zero_division=0),
    "exact_match": sk.accuracy_score,
}


def topics(sets: list[list[int]]) -> Rows:
    texts = [(" ".join(NAMES[id] for id in ids) or "nothing",) for ids in sets]
    return Rows(texts, RaggedLabels(sets), "made", "0" * 64)


def test_labels_are_ones_where_a_row_has_them() -> None:
    features = encode(tiny_tokenizer("bert"), topics([[0, 3], [], [1]]), 32, TOPICS.shape)
    assert features.labels.tolist() == [[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert features.labels.dtype == np.float32
    assert TOPICS.known(torch.from_numpy(features.labels)).all(), "a row with none of the labels is labelled"


def test_rows_without_labels_are_of_none_that_is_known() -> None:
    rows = Rows([("fast and late",), ("never",)], zeros(2), "made", "0" * 64)
    features = encode(tiny_tokenizer("bert"), rows, 32, TOPICS.shape, labelled=False)
    assert features.labels.shape == (2, 4)
    assert not TOPICS.known(torch.from_numpy(features.labels)).any()


@pytest.mark.parametrize("metric", OF_SKLEARN)
@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_scikit_learn(metric: str, seed: int) -> None:
    """One of the labels is in no row, and rows may have none."""
    draw = np.random.default_rng(seed)
    sets = [np.flatnonzero(draw.random(4) < [0.5, 0.2, 0.0, 0.05]).tolist() for _ in range(80)]
    features = encode(tiny_tokenizer("bert"), topics(sets), 32, TOPICS.shape)
    answers = np.where(draw.random((80, 4)) < 0.8, features.labels - 0.5, draw.normal(size=(80, 4))).astype(np.float32)

    gold, guess = TOPICS.judged(metric, answers, features, None)
    found = metrics.score((metric,), gold, guess, MetricLabels(NAMES))
    assert found.values[metric] == pytest.approx(100 * OF_SKLEARN[metric](features.labels, answers > 0))


def test_one_label_is_scored_by_its_yes_alone() -> None:
    """To scikit-learn one column is two classes: a no that is right would count as much."""
    gold, guess = np.array([[1], [1], [0], [0], [0]]), np.array([[1], [0], [1], [0], [0]])
    found = metrics.score(("micro_f1", "macro_f1", "exact_match"), gold, guess, MetricLabels(("rude",)))
    assert found.values == {"micro_f1": 50, "macro_f1": 50, "exact_match": 60}
    for metric, value in found.values.items():
        pooled = pool(metric, gold, np.array([[guess, guess]]), MetricLabels(("rude",)))
        assert 100 * pooled.metric(pooled.sums(pooled.shape[None])) == pytest.approx(value)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_teachers_loss_is_the_sum_of_the_divergences_of_each_yes_and_no(temperature: float) -> None:
    draw = torch.Generator().manual_seed(0)
    values, aim = (3 * torch.randn(7, 4, generator=draw) for _ in range(2))
    recovery = RECOVERY.model_copy(update={"temperature": temperature})
    found = TOPICS.teacher_loss(values, aim, recovery).item()
    theirs, ours = Bernoulli(logits=aim / temperature), Bernoulli(logits=values / temperature)
    assert found == pytest.approx(kl_divergence(theirs, ours).sum(1).mean().item() * temperature**2, rel=1e-4)


def test_at_the_teachers_answers_there_is_neither_loss_nor_slope() -> None:
    aim = 4 * torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    values = aim.clone().requires_grad_()
    loss = TOPICS.teacher_loss(values, aim, RECOVERY)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert values.grad is not None
    assert values.grad.abs().max().item() < 1e-6


def test_it_is_learnt() -> None:
    """All of it, and so it is asked for: how much of half-learnt sets is right is chance, unlike on each processor."""
    sets = [[], [0], [1], [2], [3], [0, 1], [2, 3], [0, 3]] * 8
    features = encode(tiny_tokenizer("bert"), topics(sets), 32, TOPICS.shape)
    model = build("bert", layers=2, labels=4)

    def right() -> float:
        return float(np.mean((answers_of(TOPICS, model, features, CPU) > 0) == features.labels))

    before = right()
    recovery, losses = RECOVERY.model_copy(update={"epochs": 36, "learning_rate": 6e-3}), []
    train(
        TOPICS, model, features, label_objective(TOPICS, features, CPU), recovery,
        seed=3, device=CPU, on_step=lambda step: losses.append(step.loss),
    )  # fmt: skip
    assert losses[-1] < 0.6 * losses[0]
    assert before < 0.7
    assert right() > 0.9
