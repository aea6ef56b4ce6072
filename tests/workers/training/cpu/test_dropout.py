"""Dropout from a faster generator is dropout all the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from workers.training.cpu.dropout import dropout_mask, quick_dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.25, 0.9])
def test_a_mask_drops_its_share_and_its_mean_is_one(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    mask = dropout_mask((1000, 1001), p, dtype).double()
    assert set(mask.unique().tolist()) == {0.0, torch.tensor(1 / (1 - p)).to(dtype).item()}
    assert (mask == 0).double().mean().item() == pytest.approx(p, abs=1 / 256)
    assert mask.mean().item() == pytest.approx(1.0, abs=0.004 * (p / (1 - p)) ** 0.5 + 5e-4)
    # Neighbours are strangers: the four draws of one number as well as those of two.
    for step in range(1, 9):
        flat = mask.flatten() - mask.mean()
        assert abs((flat[:-step] * flat[step:]).mean() / flat.square().mean()) < 0.005


def test_masks_follow_from_torchs_generator() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second = (dropout_mask((30, 30), 0.5, torch.float32) for _ in range(2))
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(dropout_mask((30, 30), 0.5, torch.float32), first)


def test_quick_dropout_is_for_training_alone() -> None:
    model = nn.Sequential(nn.Dropout(0.5))
    with quick_dropout(model):
        assert torch.equal(model.eval()(torch.ones(100)), torch.ones(100))


def test_quick_dropout_drops_its_share_and_keeps_the_mean() -> None:
    model = nn.Sequential(nn.Dropout(0.1))
    torch.manual_seed(0)
    with quick_dropout(model):
        out = model(torch.ones(1000, 1001))
    assert type(model[0]) is nn.Dropout
    assert (out == 0).float().mean().item() == pytest.approx(0.1, abs=0.002)
    assert out.mean().item() == pytest.approx(1.0, abs=0.002)
