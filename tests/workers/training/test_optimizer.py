"""What a step does to the weights, whatever the precision scales the loss by."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from api_schemas.recovery import Precision
from tests.support.tiny_models import build
from tests.support.trainings import CPU, RECOVERY
from workers.data.features import Features
from workers.training.compact_embedding import compact_vocabulary
from workers.training.optimizer import MAX_GRADIENT_NORM, Stepper

#: Of the gradient, before it is cut: below and above the norm that is cut to.
SIZES = (0.01, 30.0, 1.0)


def stepped(precision: Precision, features: Features, sizes: tuple[float, ...]) -> tuple[nn.Module, list[float]]:
    """A model after steps on losses of these sizes, and the norms that it was told."""
    model, norms = build("bert", layers=1), []
    with compact_vocabulary(model, features, trained=False) as embedding:
        stepper = Stepper(model, embedding, RECOVERY, total=9, device=CPU, precision=precision)
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        for size in sizes:
            # Its gradient is the weights themselves, as long as they are together.
            loss = sum((weight.square().sum() for weight in weights), torch.zeros(())) / 2
            stepper.backward(loss * size / nn.utils.get_total_norm(weights).detach())
            norms.append(stepper.clip().item())
            stepper.step()
    return model, norms


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_norm_is_told_uncut_and_unscaled(precision: Precision, features: Features) -> None:
    assert stepped(precision, features, SIZES)[1] == pytest.approx(SIZES, rel=1e-4)


def test_a_scaled_loss_makes_the_same_step(features: Features) -> None:
    plain, scaled = (stepped(precision, features, SIZES)[0] for precision in ("fp32", "fp16"))
    for weight, other in zip(plain.parameters(), scaled.parameters(), strict=True):
        assert torch.allclose(weight, other, rtol=1e-5, atol=1e-7)


def test_a_gradient_that_overflows_is_skipped_in_fp16(features: Features) -> None:
    model, _ = stepped("fp16", features, (1.0,))
    other, norms = stepped("fp16", features, (1.0, float("inf")))
    assert not norms[1] < MAX_GRADIENT_NORM
    for weight, same in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(weight, same)
