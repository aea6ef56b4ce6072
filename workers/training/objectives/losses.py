"""What a training step minimises. ``rows`` are the batch's indexes into the features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from api_schemas.recovery import Recovery
from workers.data.batches import Inputs, RowIndexes
from workers.training.cpu import real_tokens
from workers.training.objectives.teacher import HiddenPair, Targets, TeacherOutput


@dataclass(frozen=True)
class StudentOutput:
    """What the model that is trained makes of ``inputs``, ``B`` rows padded to ``L`` tokens: logits ``(B, C)`` float32,
    and where the objective wants them, the embeddings and every layer's output, for ``real_tokens``.
    """

    inputs: Inputs
    logits: Tensor
    hidden: Sequence[Tensor]


def unaltered(inputs: Inputs) -> Inputs:
    return inputs


@dataclass(frozen=True)
class TrainingObjective:
    """``loss`` must be a mean over the rows of the batch: a batch is cut where memory is short. ``alter`` is what is
    done to a batch before the model sees it. ``words``: whether the word embeddings are trained.
    """

    loss: Callable[[StudentOutput, RowIndexes], Tensor]
    wants_hidden: bool = False
    alter: Callable[[Inputs], Inputs] = unaltered
    words: bool = True


def label_objective(labels: npt.NDArray[Any], device: torch.device) -> TrainingObjective:
    """Cross-entropy with the gold labels, or mean squared error where they are numbers."""
    gold = torch.from_numpy(labels).to(device)
    regression = gold.is_floating_point()

    def loss(student: StudentOutput, rows: RowIndexes) -> Tensor:
        wanted = gold[torch.from_numpy(rows).to(device)]
        return F.mse_loss(student.logits.squeeze(-1), wanted) if regression else F.cross_entropy(student.logits, wanted)

    return TrainingObjective(loss)


def distillation_objective(
    targets: Targets,
    pairs: Sequence[HiddenPair],
    labels: npt.NDArray[Any],
    device: torch.device,
    recovery: Recovery,
    *,
    alter: Callable[[Inputs], Inputs] = unaltered,
    words: bool = True,
) -> TrainingObjective:
    """Learn the baseline's ``targets``: its logits, ``hidden_weight`` times its hidden states at ``pairs``, and
    ``label_weight`` of the logits' share from the gold labels.

    Classes: KL divergence at ``temperature``, times its square so that the gradient keeps its size (Hinton et al.
    2015, arXiv 1503.02531, §2.1). A number: mean squared error. Hidden states: see ``hidden_error``.
    """
    labelled = label_objective(labels, device)
    regression = labels.dtype.kind == "f"

    def soft(student: StudentOutput, teacher: TeacherOutput) -> Tensor:
        if regression:
            return F.mse_loss(student.logits, teacher.logits)
        pupil = F.log_softmax(student.logits / recovery.temperature, dim=-1)
        aim = F.log_softmax(teacher.logits / recovery.temperature, dim=-1)
        return F.kl_div(pupil, aim, log_target=True, reduction="batchmean") * recovery.temperature**2

    def loss(student: StudentOutput, rows: RowIndexes) -> Tensor:
        teacher = targets(student.inputs, rows)
        total = soft(student, teacher)
        if recovery.label_weight:
            total = torch.lerp(total, labelled.loss(student, rows), recovery.label_weight)
        if pairs:
            total = total + recovery.hidden_weight * hidden_error(student, teacher.hidden, pairs)
        return total

    return TrainingObjective(loss, wants_hidden=bool(pairs), alter=alter, words=words)


def hidden_error(student: StudentOutput, wanted: Sequence[Tensor], pairs: Sequence[HiddenPair]) -> Tensor:
    """The squared distance to the ``wanted`` states ``(T, W)``, which have no padding, as a share of their own squared
    length; mean over the tokens of a row and the rows (after Sun et al. 2019, arXiv 1908.09355, §3.2). Summed over the
    pairs: each mends a layer of its own, and more gaps are not to make each weigh less.

    Each token's own length, as a few tokens of a decoder have states a thousand times larger than all others.
    """
    mask = student.inputs["attention_mask"].bool()
    share = (1 / (mask.sum(1) * len(mask)))[:, None].expand(mask.shape)[mask]
    errors = []
    for pair, states in zip(pairs, wanted, strict=True):
        own = real_tokens(student.hidden[pair.pruned], mask).float()
        errors.append(((own - states).pow(2).sum(1) / states.pow(2).sum(1).clamp_min(1e-9)) @ share)
    return torch.stack(errors).sum()
