"""A model's answers to rows, and its scores on every dev split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from workers.data.batches import collate, inference_batches
from workers.data.features import Features
from workers.evaluation import metrics
from workers.evaluation.metrics import MetricLabels
from workers.kinds.kind import Kind
from workers.runtime.parts import Done, counted, unheard


@dataclass(frozen=True)
class Scores:
    """``score`` is the headline; ``metrics`` all of them, those of a second split with its name behind; ``undefined``
    has the reason for each that is None.

    ``gold`` and ``guess`` ``(N, …)`` are the headline's, as its metric takes them, for the paired bootstrap.
    """

    score: float | None
    metrics: dict[str, float | None]
    gold: npt.NDArray[np.generic]
    guess: npt.NDArray[np.generic]
    undefined: dict[str, str] = field(default_factory=dict)


def answers_of(
    kind: Kind, model: PreTrainedModel, features: Features, device: torch.device, done: Done = unheard
) -> npt.NDArray[np.float32]:
    """A model's answers to all places of ``features``, ``(U, …)`` float32. Computed as the model stands, without
    autocast: a user gets the same.
    """
    model.eval()
    found: npt.NDArray[np.float32] | None = None
    with torch.inference_mode():
        for rows in counted(inference_batches(features), done):
            values = kind.answer(model, collate(features, rows, device)).values.cpu().numpy()
            if found is None:
                found = np.empty((len(features.labels), *values.shape[1:]), dtype=np.float32)
            found[features.places(rows)] = values
    assert found is not None
    return found


def scored_names(kind: Kind, splits: Sequence[str], names: Sequence[str]) -> list[str]:
    """What ``evaluate`` calls all that it scores."""
    return [called for split in splits for _, called in _named(kind, splits, split, names)]


def _named(kind: Kind, splits: Sequence[str], split: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The metrics that are taken on ``split``, and what they are called: with its name, where another has had them."""
    for name in names:
        if kind.scores(name, split):
            first = next(each for each in splits if kind.scores(name, each))
            yield name, name if split == first else f"{name}_{split}"


#: The answers of the teacher to a split, where a kind is judged by them.
Reference = Callable[[str], npt.NDArray[np.float32]]


def evaluate(
    kind: Kind,
    model: PreTrainedModel,
    splits: dict[str, Features],
    names: tuple[str, ...],
    labels: MetricLabels,
    *,
    device: torch.device,
    order: list[int] | None = None,
    reference: Reference | None = None,
    done: Done = unheard,
) -> Scores:
    """Score ``model`` on each split. The headline is the first metric, on the first split that it is taken on.

    ``order`` says where each label stands among the outputs of a head that has them in another order.
    """
    found: dict[str, float | None] = {}
    undefined: dict[str, str] = {}
    headline: tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]] | None = None
    for split, features in splits.items():
        answers = answers_of(kind, model, features, device, done)
        answers = answers if order is None else answers[..., order]
        wanted = reference(split) if reference and kind.needs_reference(split) else None
        for name, called in _named(kind, list(splits), split, names):
            gold, guess = kind.judged(name, answers, features, wanted)
            values = metrics.score((name,), gold, guess, labels)
            found[called] = values.values[name]
            undefined.update((called, reason) for reason in values.undefined.values())
            if called == names[0]:
                headline = gold, guess
    assert headline is not None
    return Scores(found[names[0]], found, gold=headline[0], guess=headline[1], undefined=undefined)
