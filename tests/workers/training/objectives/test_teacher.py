"""What a pruned model learns from its baseline: the right states, never padding, and noise that it answers too."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from api_schemas.architectures import ARCHITECTURES
from tests.support.tiny_models import build, tiny_tokenizer
from tests.support.trainings import CPU, KIND, RECOVERY, features_of
from workers.data.batches import collate
from workers.evaluation.scores import answers_of
from workers.pruning.surgery import drop_layers
from workers.training.loop import train
from workers.training.objectives.distillation import distillation
from workers.training.objectives.losses import StudentOutput, TrainingObjective, distillation_objective, hidden_error
from workers.training.objectives.teacher import HiddenPair, hidden_pairs, live_targets
from workers.training.objectives.token_noise import Noise


@pytest.mark.parametrize(
    ("kept", "pairs"),
    [
        ([0, 1, 2], [(3, 6)]),
        ([0, 2, 4], [(1, 2), (2, 4), (3, 6)]),
        ([0, 1, 2, 4, 5], [(3, 4), (5, 6)]),
        ([3, 4, 5], [(3, 6)]),
        ([0, 1, 2, 3, 4, 5], [(6, 6)]),
        ([0], [(1, 6)]),
    ],
)
def test_a_layer_must_give_what_the_next_kept_layer_is_used_to(kept: list[int], pairs: list[tuple[int, int]]) -> None:
    assert hidden_pairs(kept, 6) == [HiddenPair(*pair) for pair in pairs]


@pytest.mark.parametrize("architecture", ["bert", "xlnet"])
def test_states_are_those_that_the_baseline_gives(architecture: str) -> None:
    """XLNet pads on the left."""
    baseline, features = build(architecture, layers=3), features_of(architecture)
    pairs, rows = [HiddenPair(1, 2), HiddenPair(2, 3)], np.array([5, 0, 17])
    inputs = collate(features, rows, CPU)
    with torch.no_grad():
        student = baseline(**inputs, output_hidden_states=True)
    left = features.padding.left
    with live_targets(KIND, baseline, pairs, device=CPU, precision="fp32", left=left) as targets:
        teacher = targets(inputs, rows)
    mask = inputs["attention_mask"].bool()
    for place, states in zip((2, 3), teacher.hidden, strict=True):
        torch.testing.assert_close(states, student.hidden_states[place][mask], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(teacher.values, student.logits, rtol=1e-4, atol=1e-5)


def test_the_error_of_hidden_states_is_a_mean_over_rows_whatever_their_padding() -> None:
    model, features = build("bert", layers=2), features_of("bert")
    pairs, rows = [HiddenPair(1, 1)], np.arange(6)
    wanted = torch.randn(int(features.lengths[rows].sum()), model.config.hidden_size)

    def error(part: np.ndarray, states: torch.Tensor, pad_to: int | None = None) -> float:
        inputs = collate(features, part, CPU, pad_to=pad_to)
        with torch.no_grad():
            output = model(**inputs, output_hidden_states=True)
        return hidden_error(StudentOutput(inputs, output.logits, output.hidden_states), [states], pairs).item()

    cut = int(features.lengths[rows[:4]].sum())
    parts = [error(rows[:4], wanted[:cut]), error(rows[4:], wanted[cut:])]
    assert error(rows, wanted) == pytest.approx((4 * parts[0] + 2 * parts[1]) / 6, rel=1e-4)
    assert error(rows, wanted, pad_to=32) == pytest.approx(error(rows, wanted), rel=1e-4)


def test_the_errors_of_gaps_add_up() -> None:
    """More gaps do not make each weigh less."""
    model, features = build("bert", layers=2), features_of("bert")
    inputs = collate(features, np.arange(6), CPU)
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True)
    student = StudentOutput(inputs, output.logits, output.hidden_states)
    pairs, tokens = [HiddenPair(1, 1), HiddenPair(2, 3)], int(inputs["attention_mask"].sum())
    wanted = [torch.randn(tokens, model.config.hidden_size) for _ in pairs]
    apart = [hidden_error(student, [states], [pair]).item() for pair, states in zip(pairs, wanted, strict=True)]
    assert hidden_error(student, wanted, pairs).item() == pytest.approx(sum(apart), rel=1e-5)


def test_noise_replaces_its_share_of_words_and_nothing_else() -> None:
    features, tokenizer = features_of("bert"), tiny_tokenizer("bert")
    special = set(tokenizer.all_special_ids)
    noise = Noise(0.25, features, special, CPU)
    torch.manual_seed(0)
    changed = words = 0
    for start in range(0, 64, 16):
        before = collate(features, np.arange(start, start + 16), CPU, pad_to=20)
        for _ in range(20):
            after = noise(before)
            assert {name for name in before if not torch.equal(before[name], after[name])} == {"input_ids"}
            stands = torch.isin(before["input_ids"], torch.tensor(sorted(special)))
            assert torch.equal(before["input_ids"][stands], after["input_ids"][stands])
            assert not special & set(after["input_ids"][~stands].tolist())
            changed += int((before["input_ids"] != after["input_ids"]).sum())
            words += int((~stands).sum())
    # A word may be drawn for itself, and there are few words in these texts.
    assert 0.17 < changed / words < 0.25


def distance(model: PreTrainedModel, baseline: PreTrainedModel) -> float:
    """Between the last hidden states, where no padding is."""
    inputs = collate(features_of("bert"), np.arange(64), CPU)
    with torch.no_grad():
        last = [one(**inputs, output_hidden_states=True).hidden_states[-1] for one in (model, baseline)]
    mask = inputs["attention_mask"].bool()
    return (last[0][mask] - last[1][mask]).pow(2).mean().item()


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_a_pruned_model_comes_nearer_to_its_baselines_states(noise: float) -> None:
    baseline, features = build("bert", layers=3), features_of("bert")
    alter = Noise(noise, features, tiny_tokenizer("bert").all_special_ids, CPU)
    found = {}
    for weight in (0.0, 10.0):
        pruned = copy.deepcopy(baseline)
        drop_layers(pruned, ARCHITECTURES["bert"], [0, 1])
        before = distance(pruned, baseline)
        pairs = hidden_pairs([0, 1], 3) if weight else []
        recovery = RECOVERY.model_copy(update={"hidden_weight": weight, "method": "distill", "dropout": False})
        with live_targets(KIND, baseline, pairs, device=CPU, precision="fp32", left=False) as targets:
            objective = distillation_objective(KIND, targets, pairs, features, recovery, device=CPU, alter=alter)
            train(KIND, pruned, features, objective, recovery, seed=3, device=CPU, on_step=lambda step: None)
        found[weight] = distance(pruned, baseline)
    assert found[10.0] < 0.5 * before
    assert found[10.0] < found[0.0]


@pytest.mark.parametrize(("kept", "moves"), [([0, 2], False), ([1, 2], True)])
@pytest.mark.parametrize("learnt", [{}, {"hidden_weight": 0.0, "noise": 0.0}])
def test_word_embeddings_stand_still_before_the_layer_that_is_used_to_them(
    kept: list[int], moves: bool, learnt: dict[str, float]
) -> None:
    baseline, features = build("bert", layers=3), features_of("bert")
    pruned = copy.deepcopy(baseline)
    drop_layers(pruned, ARCHITECTURES["bert"], kept)
    recovery = RECOVERY.model_copy(update={"method": "distill", "weight_decay": 0.1, "noise": 0.2, **learnt})
    with distillation(
        KIND, baseline, features, recovery, kept=kept, special=tiny_tokenizer("bert").all_special_ids,
        answers=lambda: answers_of(KIND, baseline, features, CPU), device=CPU,
    ) as objective:  # fmt: skip
        train(KIND, pruned, features, objective, recovery, seed=3, device=CPU, on_step=lambda step: None)
    words = [model.get_input_embeddings().weight for model in (pruned, baseline)]
    assert torch.equal(*words) is not moves
    assert not torch.equal(*(model.bert.embeddings.position_embeddings.weight for model in (pruned, baseline)))


def test_without_dropout_the_model_answers_as_it_will_when_used() -> None:
    """What is trained without dropout gives at its first step what the same model gives in evaluation."""
    model, features = build("bert", layers=2), features_of("bert")
    recovery = RECOVERY.model_copy(update={"dropout": False, "epochs": 0.1})
    seen = []

    def loss(student: StudentOutput, rows: np.ndarray) -> torch.Tensor:
        seen.append((rows, student.values.detach().clone()))
        return student.values.pow(2).mean()

    start = copy.deepcopy(model)
    train(KIND, model, features, TrainingObjective(loss), recovery, seed=3, device=CPU, on_step=lambda step: None)
    rows, logits = seen[0]
    np.testing.assert_allclose(logits.numpy(), answers_of(KIND, start, features.take(rows), CPU), rtol=1e-4, atol=1e-5)
