"""The training loop: length-bucketed batches, autocast, AdamW with linear decay."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from api_schemas.errors import LayercutError
from api_schemas.recovery import Recovery
from workers.data.batches import collate, training_batches
from workers.data.features import Features
from workers.device import DTYPES, choose_precision
from workers.training.attention import quick_attention
from workers.training.dropout import quick_dropout
from workers.training.objectives import Objective
from workers.training.stepper import Stepper
from workers.training.vocabulary import compact_vocabulary


@dataclass(frozen=True)
class Step:
    """An optimizer step that is done. ``number`` counts from 1; ``loss`` is the running mean."""

    number: int
    total: int
    epoch: float
    loss: float


@dataclass(frozen=True)
class Trained:
    """What a training took. Tokens leave padding out."""

    steps: int
    examples: int
    tokens: int
    seconds: float
    loss: float
    precision: str

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "examples_per_second": self.examples / max(self.seconds, 1e-9)}


def total_steps(rows: int, recovery: Recovery) -> int:
    """Optimizer steps of a training on ``rows`` examples; a broken epoch is rounded up to a whole step."""
    return max(1, math.ceil(math.ceil(rows / recovery.batch_size) * recovery.epochs))


def train(
    model: PreTrainedModel,
    features: Features,
    objective: Objective,
    recovery: Recovery,
    *,
    seed: int,
    device: torch.device,
    on_step: Callable[[Step], None],
) -> Trained:
    """Train ``model`` in place. The same seed repeats bit for bit on a CPU with the same number of threads.

    Raises ``training_diverged`` at the first loss that is not a number.
    """
    torch.manual_seed(seed)
    precision = choose_precision(recovery.precision, device)
    total = total_steps(len(features), recovery)
    began, mean_loss = time.perf_counter(), 0.0
    counts = np.zeros(2, dtype=np.int64)
    model.train()
    with quick_dropout(model, device), quick_attention(model, device), compact_vocabulary(model, features) as compact:
        stepper = Stepper(model, compact.embedding, recovery, total=total, device=device, precision=precision)
        for number, (epoch, rows) in enumerate(_schedule(features, recovery.batch_size, total, seed), start=1):
            with torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32"):
                logits = model(**collate(compact.features, rows, device)).logits
            loss = objective(logits.float(), rows)
            value = _finite(loss.item(), number, total, recovery)
            stepper.step(loss)
            mean_loss += (value - mean_loss) * max(0.02, 1 / number)
            counts += (len(rows), features.lengths[rows].sum())
            on_step(Step(number, total, epoch, mean_loss))
    model.eval()
    examples, tokens = counts.tolist()
    return Trained(total, examples, tokens, time.perf_counter() - began, mean_loss, precision)


def _finite(loss: float, number: int, total: int, recovery: Recovery) -> float:
    if math.isfinite(loss):
        return loss
    raise LayercutError(
        "training_diverged",
        f"the loss became {loss} at step {number} of {total}: lower recovery.learning_rate"
        f" (it is {recovery.learning_rate:g})",
        param="/recovery/learning_rate",
    )


def _schedule(
    features: Features, batch_size: int, total: int, seed: int
) -> Iterator[tuple[float, npt.NDArray[np.int64]]]:
    """``total`` pairs of (epochs done after the batch, its rows)."""
    done, epoch = 0, 0
    while True:
        batches = training_batches(features, batch_size, seed=seed, epoch=epoch)
        for at, rows in enumerate(batches, start=1):
            yield epoch + at / len(batches), rows
            done += 1
            if done == total:
                return
        epoch += 1
