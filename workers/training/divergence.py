"""Tells a training that has come apart, at the step where it does."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from api_schemas.recovery import Precision

#: fp16 skips a step whose gradients overflow and halves its scale, from 65536: sixteen in a row are still the scale's.
PATIENCE: dict[Precision, int] = {"fp16": 20}


class Diverged(ArithmeticError):
    """A loss or a gradient that is not a number. The text says which, and where."""


class Guard:
    """Looks at each step's loss and gradient norm before the weights are touched."""

    def __init__(self, precision: Precision, total: int) -> None:
        self._patience, self._total = PATIENCE.get(precision, 0), total
        self._overflows = 0

    def check(self, loss: Tensor, norm: Tensor, number: int) -> float:
        """The loss. Both numbers come in one go: a step waits for the device once."""
        value, size = torch.stack((loss, norm.to(loss.dtype))).tolist()
        where = f"at step {number} of {self._total}"
        if not math.isfinite(value):
            raise Diverged(f"the loss became {value} {where}")
        self._overflows = 0 if math.isfinite(size) else self._overflows + 1
        if self._overflows > self._patience:
            raise Diverged(f"the gradient's norm became {size} {where}")
        return float(value)
