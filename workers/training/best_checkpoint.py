"""Which moment of a training is kept: the last one, or the one that did best on rows that are not learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel

from workers.data.features import Features
from workers.training.snapshot import load_weights, weights_of
from workers.training.trainer_state import TrainerState

#: Of the rows a training has, and at most, for its judge.
SHARE, MOST = 0.1, 1000


@dataclass(frozen=True)
class HeldOut:
    """``score`` says how well a model does on ``features``, which it does not learn from; higher is better, and None,
    where it is not defined, is worst.
    """

    features: Features
    score: Callable[[PreTrainedModel], float | None]


def hold_out(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indexes of the rows to learn from, and of those to judge by; each ascending, and never empty."""
    order = np.random.default_rng((seed, rows)).permutation(rows)
    judged = max(1, min(MOST, int(rows * SHARE)))
    return np.sort(order[judged:]), np.sort(order[:judged])


class BestCheckpoint:
    """The best weights so far; of equals the later, which have learnt longer. What they scored stands in the state."""

    def __init__(self, held_out: HeldOut, weights: dict[str, Tensor]) -> None:
        self._selection, self.weights = held_out, weights

    def look(self, model: PreTrainedModel, epoch: float, state: TrainerState) -> None:
        """Leaves the model in the mode that it was in."""
        training = model.training
        model.eval()
        score = self._selection.score(model)
        model.train(training)
        if state.best_score is None or (score is not None and score >= state.best_score):
            state.best_score, state.best_epoch = score, epoch
            self.weights = weights_of(model, copy=True)

    def put_back(self, model: PreTrainedModel) -> None:
        load_weights(model, self.weights)
