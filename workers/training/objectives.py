"""What a training step minimises. Logits are ``(B, C)`` float32; ``rows`` are the batch's indexes into the features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Objective = Callable[[Tensor, npt.NDArray[np.int64]], Tensor]


def label_objective(labels: npt.NDArray[Any], device: torch.device) -> Objective:
    """Cross-entropy with the gold labels, or mean squared error where they are numbers."""
    gold = torch.from_numpy(labels).to(device)
    regression = gold.is_floating_point()

    def loss(logits: Tensor, rows: npt.NDArray[np.int64]) -> Tensor:
        wanted = gold[torch.from_numpy(rows).to(device)]
        return F.mse_loss(logits.squeeze(-1), wanted) if regression else F.cross_entropy(logits, wanted)

    return loss


def distillation_objective(
    teacher: npt.NDArray[np.float32],
    labels: npt.NDArray[Any],
    device: torch.device,
    *,
    temperature: float,
    label_weight: float,
) -> Objective:
    """Learn the baseline's ``teacher`` logits ``(N, C)``; ``label_weight`` of the loss comes from the gold labels.

    Classes: KL divergence at ``temperature``, times its square so that the gradient keeps its size (Hinton et al.
    2015, arXiv 1503.02531, §2.1). A number: mean squared error.
    """
    targets = torch.from_numpy(teacher).to(device)
    from_labels = label_objective(labels, device)
    regression = labels.dtype.kind == "f"

    def soft(logits: Tensor, rows: npt.NDArray[np.int64]) -> Tensor:
        wanted = targets[torch.from_numpy(rows).to(device)]
        if regression:
            return F.mse_loss(logits, wanted)
        student = F.log_softmax(logits / temperature, dim=-1)
        aim = F.log_softmax(wanted / temperature, dim=-1)
        return F.kl_div(student, aim, log_target=True, reduction="batchmean") * temperature**2

    def loss(logits: Tensor, rows: npt.NDArray[np.int64]) -> Tensor:
        if label_weight == 0:
            return soft(logits, rows)
        return (1 - label_weight) * soft(logits, rows) + label_weight * from_labels(logits, rows)

    return loss
