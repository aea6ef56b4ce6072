"""What a pruned model learns from its baseline: the right states, stored or asked anew, and never padding."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training import CPU, RECOVERY, features_of
from tiny_models import build
from transformers import PreTrainedModel

from api_schemas.architectures import ARCHITECTURES
from workers.data.batches import collate
from workers.pruning.surgery import drop_layers
from workers.training import targets as module
from workers.training.loop import train
from workers.training.objectives import Answer, distillation_objective, hidden_error
from workers.training.targets import LiveTargets, Pair, StoredTargets, baseline_targets, hidden_pairs


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
    assert hidden_pairs(kept, 6) == [Pair(*pair) for pair in pairs]


@pytest.mark.parametrize("architecture", ["bert", "xlnet"])
def test_stored_states_are_those_that_the_baseline_gives(architecture: str, tmp_path: Path) -> None:
    """XLNet pads on the left."""
    baseline, features = build(architecture, layers=3), features_of(architecture)
    pairs = [Pair(1, 2), Pair(2, 3)]
    rows = np.array([5, 0, 17])
    with baseline_targets(baseline, features, pairs, device=CPU, precision="fp32", folder=tmp_path) as targets:
        assert isinstance(targets, StoredTargets)
        lesson = targets.of(rows)
    assert list(tmp_path.iterdir()) == []
    inputs = collate(features, rows, CPU)
    with torch.no_grad():
        answer = baseline(**inputs, output_hidden_states=True)
    mask = inputs["attention_mask"].bool()
    wanted = torch.stack([answer.hidden_states[place][mask] for place in (2, 3)])
    assert lesson.hidden is not None
    torch.testing.assert_close(lesson.hidden.float(), wanted, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(lesson.logits, answer.logits, rtol=1e-4, atol=1e-5)


def test_states_that_would_fill_the_disk_are_asked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STORED_BYTES", 1)
    baseline, features = build("bert", layers=2), features_of("bert")
    with baseline_targets(baseline, features, [Pair(1, 2)], device=CPU, precision="fp32", folder=tmp_path) as targets:
        assert isinstance(targets, LiveTargets)
        assert list(tmp_path.iterdir()) == []
        assert targets.of(np.arange(3)).logits.shape[0] == 3


def test_the_error_of_hidden_states_is_a_mean_over_rows_whatever_their_padding() -> None:
    model, features = build("bert", layers=2), features_of("bert")
    pairs, rows = [Pair(1, 1)], np.arange(6)
    wanted = torch.randn(1, int(features.lengths[rows].sum()), model.config.hidden_size)

    def error(part: np.ndarray, states: torch.Tensor, pad_to: int | None = None) -> float:
        inputs = collate(features, part, CPU, pad_to=pad_to)
        with torch.no_grad():
            output = model(**inputs, output_hidden_states=True)
        answer = Answer(output.logits, output.hidden_states, inputs["attention_mask"].bool())
        return hidden_error(answer, states, pairs, torch.tensor([2.0])).item()

    cut = int(features.lengths[rows[:4]].sum())
    parts = [error(rows[:4], wanted[:, :cut]), error(rows[4:], wanted[:, cut:])]
    assert error(rows, wanted) == pytest.approx((4 * parts[0] + 2 * parts[1]) / 6, rel=1e-4)
    assert error(rows, wanted, pad_to=32) == pytest.approx(error(rows, wanted), rel=1e-4)


def distance(model: PreTrainedModel, baseline: PreTrainedModel) -> float:
    """Between the last hidden states, where no padding is."""
    inputs = collate(features_of("bert"), np.arange(64), CPU)
    with torch.no_grad():
        last = [one(**inputs, output_hidden_states=True).hidden_states[-1] for one in (model, baseline)]
    mask = inputs["attention_mask"].bool()
    return (last[0][mask] - last[1][mask]).pow(2).mean().item()


def test_a_pruned_model_comes_nearer_to_its_baselines_states(tmp_path: Path) -> None:
    baseline, features = build("bert", layers=3), features_of("bert")
    found = {}
    for weight in (0.0, 10.0):
        pruned = copy.deepcopy(baseline)
        drop_layers(pruned, ARCHITECTURES["bert"], [0, 1])
        before = distance(pruned, baseline)
        pairs = hidden_pairs([0, 1], 3)
        recovery = RECOVERY.model_copy(update={"hidden_weight": weight, "method": "distill", "dropout": False})
        with baseline_targets(baseline, features, pairs, device=CPU, precision="fp32", folder=tmp_path) as targets:
            objective = distillation_objective(targets, pairs, features.labels, CPU, recovery)
            train(pruned, features, objective, recovery, seed=3, device=CPU, on_step=lambda step: None)
        found[weight] = distance(pruned, baseline)
    assert found[10.0] < 0.5 * before
    assert found[10.0] < found[0.0]
