"""What a training step minimises. ``rows`` are the batch's indexes into the features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from api_schemas.recovery import Recovery
from workers.data.batches import Inputs, RowIndexes
from workers.data.features import Features
from workers.kinds.kind import Kind
from workers.training.cpu import real_tokens
from workers.training.objectives.teacher import HiddenPair, Targets


@dataclass(frozen=True)
class StudentOutput:
    """What the model that is trained makes of ``inputs``, ``B`` rows padded to ``L`` tokens: ``values`` ``(U, …)``
    float32, one for each place (see ``Kind.answer``), and where the objective wants them, the embeddings and every
    layer's output, for ``real_tokens``.
    """

    inputs: Inputs
    values: Tensor
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


@dataclass(frozen=True)
class _Gold:
    """The labels of ``features``, and what of a batch is learnt by them."""

    kind: Kind
    features: Features
    device: torch.device

    @cached_property
    def _labels(self) -> Tensor:
        return torch.from_numpy(self.features.labels).to(self.device)

    @cached_property
    def all_known(self) -> bool:
        return bool(self.kind.known(self._labels).all())

    @cached_property
    def _answered_a_row(self) -> float:
        """Places of a row that are answered, on average."""
        answered = self.kind.answered(self._labels)
        return 1.0 if answered is None else int(answered.sum()) / len(self.features)

    def of(self, rows: RowIndexes) -> Tensor:
        return self._labels[torch.from_numpy(self.features.places(rows)).to(self.device)]

    def answered(self, gold: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        """``values`` at the places that are answered."""
        mask = self.kind.answered(gold)
        return values if mask is None else tuple(value[mask] for value in values)

    def share(self, places: int, rows: RowIndexes) -> float:
        """What turns a mean over ``places`` into one over ``rows``, in which each place weighs the same in all batches:
        a batch that is cut has the same sum.
        """
        return places / (len(rows) * self._answered_a_row)

    def loss(self, values: Tensor, rows: RowIndexes) -> Tensor:
        """Of the labels that somebody gave: the mean over the rows."""
        gold = self.of(rows)
        if not self.all_known:
            known = self.kind.known(gold)
            if not known.any():
                return values.sum() * 0
            share = self.share(int(known.sum()), rows)
            return self.kind.label_loss(values[known], gold[known]) * share
        return self.kind.label_loss(values, gold)


@dataclass(frozen=True)
class _Soft:
    """What is learnt of the teacher's answers, ``aim``, to the places of a batch."""

    gold: _Gold
    recovery: Recovery

    def loss(self, values: Tensor, aim: Tensor, rows: RowIndexes) -> Tensor:
        if not self.gold.features.per_token:
            return self.gold.kind.teacher_loss(values, aim, self.recovery)
        return self._part(values, self.gold.answered(self.gold.of(rows), values, aim), rows)

    def unlabelled(self, values: Tensor, aim: Tensor, rows: RowIndexes) -> Tensor:
        """The part of ``loss`` that is of places whose label nobody gave."""
        gold = self.gold.of(rows)
        left = ~self.gold.kind.known(gold)
        return self._part(values, self.gold.answered(gold[left], values[left], aim[left]), rows)

    def _part(self, values: Tensor, places: Sequence[Tensor], rows: RowIndexes) -> Tensor:
        answers, aim = places
        if not len(answers):
            return values.sum() * 0
        return self.gold.kind.teacher_loss(answers, aim, self.recovery) * self.gold.share(len(answers), rows)


def label_objective(kind: Kind, features: Features, device: torch.device) -> TrainingObjective:
    """The kind's own loss on the gold labels of ``features``: cross-entropy, or mean squared error of numbers."""
    gold = _Gold(kind, features, device)
    return TrainingObjective(lambda student, rows: gold.loss(student.values, rows))


def distillation_objective(
    kind: Kind,
    targets: Targets,
    pairs: Sequence[HiddenPair],
    features: Features,
    recovery: Recovery,
    *,
    device: torch.device,
    alter: Callable[[Inputs], Inputs] = unaltered,
    words: bool = True,
) -> TrainingObjective:
    """Learn the baseline's ``targets``: its answers, by the kind's ``teacher_loss``; ``hidden_weight`` times its hidden
    states at ``pairs``, see ``hidden_error``; and ``label_weight`` of the answers' share from the gold labels.
    """
    gold = _Gold(kind, features, device)
    soft = _Soft(gold, recovery)

    def loss(student: StudentOutput, rows: RowIndexes) -> Tensor:
        teacher = targets(student.inputs, rows)
        total = soft.loss(student.values, teacher.values, rows)
        if recovery.label_weight:
            known = gold.loss(student.values, rows)
            # Where there is no label, the teacher is all there is to learn from, and counts in full.
            whole = known if gold.all_known else known + soft.unlabelled(student.values, teacher.values, rows)
            total = torch.lerp(total, whole, recovery.label_weight)
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
