"""A model's logits on rows, and its scores on every dev split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from workers.data.batches import collate, inference_batches
from workers.data.features import Features
from workers.evaluation import metrics
from workers.evaluation.metrics import MetricLabels
from workers.runtime.parts import Done, counted, unheard


@dataclass(frozen=True)
class Scores:
    """``score`` is the headline; ``metrics`` all of them, those of a second split with its name behind; ``undefined``
    has the reason for each that is None.

    ``gold`` and ``guess`` ``(N,)`` are the headline split's, for the paired bootstrap.
    """

    score: float | None
    metrics: dict[str, float | None]
    gold: npt.NDArray[np.generic]
    guess: npt.NDArray[np.generic]
    undefined: dict[str, str] = field(default_factory=dict)


def logits_of(
    model: nn.Module, features: Features, device: torch.device, done: Done = unheard
) -> npt.NDArray[np.float32]:
    """``(N, C)`` float32, in row order. Computed as the model stands, without autocast: a user gets the same."""
    model.eval()
    found: npt.NDArray[np.float32] | None = None
    with torch.inference_mode():
        for rows in counted(inference_batches(features), done):
            logits = model(**collate(features, rows, device)).logits.float().cpu().numpy()
            if found is None:
                found = np.empty((len(features), logits.shape[1]), dtype=np.float32)
            found[rows] = logits
    assert found is not None
    return found


def scored_names(splits: Sequence[str], names: Sequence[str]) -> list[str]:
    """What ``evaluate`` calls all that it scores."""
    return [f"{name}{_suffix(split, first=split == splits[0])}" for split in splits for name in names]


def _suffix(split: str, *, first: bool) -> str:
    return "" if first else f"_{split}"


def evaluate(
    model: nn.Module,
    splits: dict[str, Features],
    names: tuple[str, ...],
    labels: MetricLabels,
    *,
    regression: bool,
    device: torch.device,
    order: list[int] | None = None,
    done: Done = unheard,
) -> Scores:
    """Score ``model`` on each split; the first split's first metric is the headline.

    ``order`` says where each label stands among the outputs of a head that has them in another order.
    """
    found: dict[str, float | None] = {}
    undefined: dict[str, str] = {}
    headline: tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]] | None = None
    for split, features in splits.items():
        logits = logits_of(model, features, device, done)
        guess = metrics.predictions(logits if order is None else logits[:, order], regression=regression)
        scores = metrics.score(names, features.labels, guess, labels)
        suffix = _suffix(split, first=headline is None)
        headline = headline or (features.labels, guess)
        found |= {f"{name}{suffix}": value for name, value in scores.values.items()}
        undefined |= {f"{name}{suffix}": reason for name, reason in scores.undefined.items()}
    assert headline is not None
    return Scores(found[names[0]], found, gold=headline[0], guess=headline[1], undefined=undefined)
