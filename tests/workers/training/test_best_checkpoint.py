"""The epoch whose weights are kept: the best by rows that are not learnt, through a kill as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor
from transformers import PreTrainedModel

from tests.support.tiny_models import build
from tests.support.trainings import CPU, KIND, RECOVERY, Killed, Run, assert_same, features_of, weights
from workers.training.best_checkpoint import MOST, HeldOut, hold_out
from workers.training.hooks import TrainingHooks
from workers.training.loop import train
from workers.training.objectives.losses import label_objective
from workers.training.trainer_state import Step, TrainResult


class Critic:
    """Prefers the epochs in an order of its own, and remembers the weights that it saw."""

    def __init__(self, *scores: float | None) -> None:
        self._scores, self.seen = scores, list[dict[str, Tensor]]()

    def __call__(self, model: PreTrainedModel) -> float | None:
        assert not model.training
        self.seen.append(weights(model))
        return self._scores[len(self.seen) - 1]


def fit(
    model: PreTrainedModel, score: Callable[[PreTrainedModel], float | None], epochs: float = 4,
    hooks: TrainingHooks | None = None, kill_after: int | None = None,
) -> TrainResult:  # fmt: skip
    features = features_of("bert")
    learnt, judged = hold_out(len(features), seed=1)
    part, recovery = features.take(learnt), RECOVERY.model_copy(update={"epochs": epochs})

    def on_step(step: Step) -> None:
        if step.number == kill_after:
            raise Killed

    return train(
        KIND, model, part, label_objective(KIND, part, CPU), recovery, seed=3, device=CPU, on_step=on_step, hooks=hooks,
        held_out=HeldOut(features.take(judged), score),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ((1.0, 3.0, 2.0, 0.0), 2),
        ((1.0, 1.0, 1.0, 1.0), 4),
        ((4.0, 3.0, 2.0, 1.0), 1),
        # A score that is not defined is worse than any, and as good as another.
        ((None, -9.0, None, None), 2),
        ((None, None, None, None), 4),
    ],
)
def test_the_best_epoch_is_kept_and_of_equals_the_later(scores: tuple[float | None, ...], kept: int) -> None:
    model, critic = build("bert", layers=2), Critic(*scores)
    trained = fit(model, critic)
    assert len(critic.seen) == 4
    assert (trained.best_epoch, trained.best_score) == (kept, scores[kept - 1])
    # The critic saw the words of the data alone; all others are as they were.
    wanted = critic.seen[kept - 1]
    small = [name for name in wanted if wanted[name].shape != model.state_dict()[name].shape]
    assert [name.rpartition(".")[0].rpartition(".")[2] for name in small] == ["word_embeddings"]
    assert_same({k: v for k, v in weights(model).items() if k not in small}, {
        k: v for k, v in wanted.items() if k not in small
    })  # fmt: skip


def test_a_broken_last_epoch_is_judged_too() -> None:
    critic = Critic(1.0, 2.0, 3.0)
    assert fit(build("bert", layers=2), critic, epochs=2.5).best_epoch == pytest.approx(2.5, abs=0.1)


def test_after_a_kill_the_best_so_far_is_still_known(tmp_path: Path) -> None:
    whole, model = build("bert", layers=2), build("bert", layers=2)
    told = fit(whole, Critic(1.0, 9.0, 2.0, 3.0), hooks=Run(tmp_path / "whole").hooks)
    with pytest.raises(Killed):
        # Eight steps an epoch: the second is done.
        fit(build("bert", layers=2), Critic(1.0, 9.0), hooks=Run(tmp_path / "cut").hooks, kill_after=20)
    again = fit(model, Critic(2.0, 3.0), hooks=Run(tmp_path / "cut", attempt=2).hooks)
    assert (again.best_epoch, again.best_score) == (told.best_epoch, told.best_score) == (2, 9.0)
    assert_same(weights(model), weights(whole))


@pytest.mark.parametrize(("rows", "judged"), [(2, 1), (64, 6), (5000, 500), (100_000, MOST)])
def test_rows_that_judge_are_not_learnt(rows: int, judged: int) -> None:
    learnt, held = hold_out(rows, seed=5)
    assert len(held) == judged
    assert np.array_equal(np.sort(np.concatenate([learnt, held])), np.arange(rows))
    assert np.array_equal(hold_out(rows, seed=5)[1], held)


def test_judging_leaves_the_training_as_it_was() -> None:
    """The last epoch judged best gives the bits of a training that nobody judged."""
    judged, plain = build("bert", layers=2), build("bert", layers=2)
    fit(judged, Critic(1.0, 2.0, 3.0, 4.0))
    features = features_of("bert")
    part = features.take(hold_out(len(features), seed=1)[0])
    recovery = RECOVERY.model_copy(update={"epochs": 4})
    train(
        KIND, plain, part, label_objective(KIND, part, CPU), recovery, seed=3, device=CPU, on_step=lambda _: None
    )  # fmt: skip
    assert_same(weights(judged), weights(plain))
