"""The training loop on tiny random models: it learns, it repeats, and its short cuts change nothing."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from api_schemas.errors import LayercutError
from tests.support.tiny_models import CLASSIFIERS, build
from tests.support.trainings import CPU, KIND, RECOVERY, features_of, plain_loop
from workers.data.features import Features
from workers.evaluation.scores import answers_of
from workers.kinds.table import plain_kind
from workers.training.compact_embedding import compact_vocabulary
from workers.training.loop import train
from workers.training.objectives.losses import distillation_objective, label_objective
from workers.training.objectives.teacher import known_targets
from workers.training.trainer_state import Step


def fit(model: PreTrainedModel, features: Features, **changes: object) -> list[Step]:
    steps: list[Step] = []
    recovery = RECOVERY.model_copy(update=changes)
    objective = label_objective(KIND, features, CPU)
    train(KIND, model, features, objective, recovery, seed=3, device=CPU, on_step=steps.append)
    return steps


def test_it_learns_and_counts_its_steps(features: Features) -> None:
    model = build("bert", layers=2)
    steps = fit(model, features)
    assert steps[-1].loss < 0.6 * steps[0].loss
    assert [step.number for step in steps] == list(range(1, RECOVERY.steps_of(64) + 1))
    assert steps[-1].epoch == pytest.approx(6)
    assert not model.training
    assert (answers_of(KIND, model, features, CPU).argmax(1) == features.labels).all()


@pytest.mark.parametrize(("count", "epochs", "steps"), [(64, 3, 24), (65, 1, 9), (64, 0.5, 4), (3, 0.1, 1)])
def test_steps_of_a_training(count: int, epochs: float, steps: int) -> None:
    assert RECOVERY.model_copy(update={"epochs": epochs}).steps_of(count) == steps


def test_the_same_seed_repeats_bit_for_bit(features: Features) -> None:
    one, other = build("bert", layers=2), build("bert", layers=2)
    fit(one, features, epochs=1)
    fit(other, features, epochs=1)
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name]), name


def test_a_loss_that_is_no_number_is_told(features: Features) -> None:
    model = build("bert", layers=2)
    model.classifier.weight.data.fill_(float("nan"))
    with pytest.raises(LayercutError, match=r"step 1 of 48.*learning_rate") as caught:
        fit(model, features)
    assert caught.value.code == "training_diverged"


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_every_architecture_trains_and_is_itself_again(architecture: str) -> None:
    model = build(architecture, layers=2)
    before = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    table = model.get_input_embeddings()
    fit(model, features_of(architecture), epochs=0.5)
    assert model.get_input_embeddings() is table
    assert {name: tuple(weight.shape) for name, weight in model.state_dict().items()} == before
    assert model.config._attn_implementation == build(architecture, layers=2).config._attn_implementation


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_the_compact_vocabulary_changes_no_output(architecture: str) -> None:
    model, features = build(architecture, layers=2), features_of(architecture)
    wanted = answers_of(KIND, model, features, CPU)
    with compact_vocabulary(model, features, trained=True) as compact:
        assert len(compact.weight) < 60
        found = answers_of(KIND, model, features, CPU)
    assert np.array_equal(found, wanted)


def test_training_the_compact_table_is_training_the_whole(features: Features) -> None:
    """Against a plain loop over the whole table, weight decay included."""
    model = build("bert", layers=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model.set_attn_implementation("eager")
    plain = copy.deepcopy(model)
    changes = {"epochs": 1, "weight_decay": 0.1, "warmup_ratio": 0.0, "learning_rate": 1e-3}
    fit(model, features, **changes)
    plain_loop(plain, features, learning_rate=1e-3, weight_decay=0.1)
    for name, weight in plain.state_dict().items():
        # A gradient that is rounding alone, as that of a key's bias, becomes whole steps of Adam: a step is 1e-3.
        assert "key.bias" in name or torch.allclose(model.state_dict()[name], weight, rtol=1e-4, atol=1e-4), name


@pytest.mark.parametrize("regression", [False, True])
def test_a_student_comes_to_answer_as_its_teacher(regression: bool, features: Features) -> None:
    model = build("bert", layers=2, labels=1 if regression else 3)
    kind = plain_kind("regression") if regression else plain_kind("classification", ("a", "b", "c"))
    labels = features.labels.astype(np.float32) if regression else features.labels
    features = replace(features, labels=labels)
    wanted = (
        np.where(features.labels[:, None] == 1, 2.0, -2.0) * np.array([[1.0, 0.5, -1.0]])[:, : 1 if regression else 3]
    )
    targets = known_targets(wanted.astype(np.float32), features, CPU)
    objective = distillation_objective(kind, targets, [], features, RECOVERY, device=CPU)
    recovery = RECOVERY.model_copy(update={"epochs": 12})
    train(kind, model, features, objective, recovery, seed=3, device=CPU, on_step=lambda step: None)
    found = answers_of(kind, model, features, CPU)
    # Classes are learnt as probabilities: a constant added to every logit changes none.
    offset = 0 if regression else (found - wanted).mean(axis=1, keepdims=True)
    assert np.abs(found - wanted - offset).max() < 0.5
