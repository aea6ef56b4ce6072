"""What a pruned model learns from: the baseline's answers, and its hidden states where layers are missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedModel

from api_schemas.recovery import Precision
from workers.data.batches import Inputs, RowIndexes
from workers.data.features import Features
from workers.kinds.kind import Kind
from workers.runtime.device import DTYPES
from workers.training.cpu import fast_path, real_tokens


@dataclass(frozen=True)
class HiddenPair:
    """Places in ``hidden_states`` that ought to be equal: 0 is the embeddings, ``i`` the output of the i-th layer."""

    pruned: int
    baseline: int


def hidden_pairs(kept: Sequence[int], total: int) -> list[HiddenPair]:
    """Each kept layer that layers were dropped after, and the last one: the state that the next kept layer is used to.

    A layer whose follower was kept has nothing to make up for. What stands in front of a dropped first layer is the
    embeddings, which no layer can mend.
    """
    following = [*kept[1:], total]
    gaps = [
        HiddenPair(at + 1, after)
        for at, (own, after) in enumerate(zip(kept, following, strict=True))
        if after > own + 1
    ]
    last = HiddenPair(len(kept), total)
    return gaps if last in gaps else [*gaps, last]


@dataclass(frozen=True)
class TeacherOutput:
    """For a batch of ``B`` rows of ``T`` tokens in all: ``values`` ``(U, …)``, see ``Kind.answer``, and ``(T, W)``
    states for each pair.
    """

    values: Tensor
    hidden: Sequence[Tensor]


class Targets(Protocol):
    """Of the batch that is made of ``rows``, and looks like ``inputs`` to the model."""

    def __call__(self, inputs: Inputs, rows: RowIndexes) -> TeacherOutput: ...


def known_targets(answers: npt.NDArray[np.float32], features: Features, device: torch.device) -> Targets:
    """Answers to all places of ``features`` that were computed before."""
    known = torch.from_numpy(answers).to(device)
    return lambda _, rows: TeacherOutput(known[torch.from_numpy(features.places(rows)).to(device)], ())


@contextmanager
def live_targets(
    kind: Kind,
    baseline: PreTrainedModel,
    pairs: Sequence[HiddenPair],
    *,
    device: torch.device,
    precision: Precision,
    left: bool,
    engine: bool = True,
) -> Iterator[Targets]:
    """The baseline answers every batch as it comes; ``left``: padding comes before the text. See ``fast_path``."""

    def answer(inputs: Inputs, rows: RowIndexes) -> TeacherOutput:
        with torch.no_grad(), torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32"):
            answer = kind.answer(baseline, inputs, hidden=bool(pairs))
        mask = inputs["attention_mask"]
        states = [real_tokens(answer.hidden[pair.baseline], mask).float() for pair in pairs]
        return TeacherOutput(answer.values, states)

    baseline.eval()
    with fast_path(baseline, device, DTYPES[precision], left=left, on=engine, frozen=True):
        yield answer
