"""What a pruned model learns from: the baseline's logits and hidden states for every training row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedModel

from api_schemas.recovery import Precision
from workers.data.batches import Rows, collate, scoring_batches
from workers.data.features import Features
from workers.device import DTYPES
from workers.training.attention import quick_attention

#: Up to here a job keeps the baseline's hidden states on its scratch disk; beyond, they are computed with every batch.
STORED_BYTES = 8 << 30


@dataclass(frozen=True)
class Pair:
    """Places in ``hidden_states`` that ought to be equal: 0 is the embeddings, ``i`` the output of the i-th layer."""

    pruned: int
    baseline: int


def hidden_pairs(kept: Sequence[int], total: int) -> list[Pair]:
    """Each kept layer that layers were dropped after, and the last one: the state that the next kept layer is used to.

    A layer whose follower was kept has nothing to make up for. What stands in front of a dropped first layer is the
    embeddings, which no layer can mend.
    """
    following = [*kept[1:], total]
    gaps = [Pair(at + 1, after) for at, (own, after) in enumerate(zip(kept, following, strict=True)) if after > own + 1]
    last = Pair(len(kept), total)
    return gaps if last in gaps else [*gaps, last]


@dataclass(frozen=True)
class Lesson:
    """For a batch of ``B`` rows of ``T`` tokens in all: logits ``(B, C)``, and ``(G, T, W)`` states, one for a pair."""

    logits: Tensor
    hidden: Tensor | None


class Targets(Protocol):
    """``scales`` ``(G,)`` are the mean squares of the states, which make the pairs' errors comparable."""

    @property
    def scales(self) -> Tensor: ...
    def of(self, rows: Rows) -> Lesson: ...


class LogitTargets:
    """Logits alone, ``(N, C)``."""

    def __init__(self, logits: npt.NDArray[np.float32], device: torch.device) -> None:
        self._logits = torch.from_numpy(logits).to(device)
        self.scales = torch.empty(0, device=device)

    def of(self, rows: Rows) -> Lesson:
        return Lesson(self._logits[torch.from_numpy(rows).to(self._logits.device)], None)


class LiveTargets:
    """The baseline is asked anew for every batch: for data whose states would not fit on the disk."""

    def __init__(
        self, baseline: PreTrainedModel, features: Features, pairs: Sequence[Pair], device: torch.device, how: Precision
    ) -> None:
        self._model, self._features, self._device, self._precision = baseline.eval(), features, device, how
        self._places = [pair.baseline for pair in pairs]
        self.scales = torch.ones(len(pairs), device=device)
        first = scoring_batches(features)[0]
        self.scales = _mean_square(self.of(first).hidden)

    def of(self, rows: Rows) -> Lesson:
        inputs = collate(self._features, rows, self._device)
        with torch.no_grad(), torch.autocast(self._device.type, DTYPES[self._precision], self._precision != "fp32"):
            answer = self._model(**inputs, output_hidden_states=True)
        mask = inputs["attention_mask"].bool()
        states = torch.stack([answer.hidden_states[place][mask] for place in self._places])
        return Lesson(answer.logits.float(), states)


class StoredTargets:
    """Asked once, and kept in a file of bfloat16, token by token: ``(T, G, W)``."""

    def __init__(self, live: LiveTargets, features: Features, shape: tuple[int, int, int], file: Path) -> None:
        device = live.scales.device
        size = int(np.prod(shape))
        self._states = torch.from_file(str(file), shared=True, size=size, dtype=torch.bfloat16).view(shape)
        self._offsets, self._device = features.offsets, device
        logits: list[Tensor] = []
        squares, order = torch.zeros(shape[1], dtype=torch.float64), []
        for rows in scoring_batches(features):
            lesson = live.of(rows)
            assert lesson.hidden is not None
            states = lesson.hidden.to("cpu", torch.bfloat16)
            self._states[self._tokens(rows)] = states.transpose(0, 1)
            squares += states.double().pow(2).mean(2).sum(1)
            logits.append(lesson.logits)
            order.append(rows)
        self.scales = (squares / shape[0]).float().to(device)
        self._logits = torch.cat(logits)[torch.from_numpy(np.argsort(np.concatenate(order))).to(device)]

    def of(self, rows: Rows) -> Lesson:
        states = self._states[self._tokens(rows)].transpose(0, 1)
        return Lesson(self._logits[torch.from_numpy(rows).to(self._device)], states.to(self._device))

    def _tokens(self, rows: Rows) -> Tensor:
        spans = [np.arange(self._offsets[row], self._offsets[row + 1]) for row in rows]
        return torch.from_numpy(np.concatenate(spans))


@contextmanager
def baseline_targets(
    baseline: PreTrainedModel,
    features: Features,
    pairs: Sequence[Pair],
    *,
    device: torch.device,
    precision: Precision,
    folder: Path,
) -> Iterator[Targets]:
    """Logits and hidden states of ``baseline`` for the rows of ``features``; a file in ``folder`` may hold them."""
    file = folder / "hidden_states.bin"
    shape = (int(features.offsets[-1]), len(pairs), int(baseline.config.get_text_config().hidden_size))
    with quick_attention(baseline, device):
        live = LiveTargets(baseline, features, pairs, device, precision)
        if 2 * int(np.prod(shape)) > STORED_BYTES:
            yield live
            return
        folder.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        try:
            yield StoredTargets(live, features, shape, file)
        finally:
            file.unlink(missing_ok=True)


def _mean_square(states: Tensor | None) -> Tensor:
    assert states is not None
    return states.float().pow(2).mean((1, 2))
