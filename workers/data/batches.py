"""Which rows go together, and the tensors they become."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workers.data.features import Features

RowIndexes = npt.NDArray[np.int64]
#: What a model takes, by name.
Inputs = dict[str, Tensor]

# Rows are sorted by length inside a pool of this many batches: wide enough to save padding, narrow enough that
# every epoch mixes its batches anew.
POOL_BATCHES = 64
# Lengths are rounded up, so that few shapes occur and matrix kernels run on whole tiles.
LENGTH_MULTIPLE = 8
# Tokens of a scored batch that it is better to compute apart than to pad: a core is busy with fewer.
WORTH_A_BATCH = 512


def training_batches(features: Features, batch_size: int, *, seed: int, epoch: int) -> list[RowIndexes]:
    """Row indexes of each batch of one epoch: every row once, rows of like length together, in a seeded order."""
    draw = np.random.default_rng((seed, epoch))
    order = draw.permutation(len(features))
    lengths = features.lengths
    batches: list[RowIndexes] = []
    pool = batch_size * POOL_BATCHES
    for start in range(0, len(order), pool):
        part = order[start : start + pool]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[at : at + batch_size] for at in range(0, len(part), batch_size)]
    return [batches[at] for at in draw.permutation(len(batches))]


def inference_batches(features: Features, *, tokens: int = 8192) -> list[RowIndexes]:
    """Row indexes of batches of at most ``tokens`` tokens with their padding, every row once, shortest first.

    Where a longer row would have those before it padded, a batch that is large enough already ends.
    """
    lengths = features.lengths
    batches: list[RowIndexes] = []
    batch: list[int] = []
    width = 0
    for row in np.argsort(lengths, kind="stable"):
        before, width = width, _rounded(int(lengths[row]))
        worth_it = width > before and len(batch) * before >= WORTH_A_BATCH
        if batch and (worth_it or (len(batch) + 1) * width > tokens):
            batches.append(np.asarray(batch))
            batch = []
        batch.append(int(row))
    return [*batches, np.asarray(batch)]


def collate(features: Features, rows: RowIndexes, device: torch.device, *, pad_to: int | None = None) -> Inputs:
    """Model inputs of ``B`` rows padded to ``L`` tokens: ``input_ids``, ``attention_mask``, maybe ``token_type_ids``.

    Each is int64 ``(B, L)``. Labels are not among them: the losses are ours.
    """
    lengths = features.lengths[rows]
    width = pad_to or _rounded(int(lengths.max()))
    columns = np.arange(width)
    mask = columns >= (width - lengths)[:, None] if features.padding.left else columns < lengths[:, None]
    # Where the mask holds, tokens follow one another in row order: one gather for the whole batch.
    at = features.tokens_of(rows)
    inputs = {"input_ids": _filled(features.ids[at], mask, features.padding.token)}
    if features.types is not None:
        inputs["token_type_ids"] = _filled(features.types[at], mask, features.padding.token_type)
    inputs["attention_mask"] = mask.astype(np.int64)
    return {name: _to(torch.from_numpy(value), device) for name, value in inputs.items()}


def _filled(values: npt.NDArray[np.integer], mask: npt.NDArray[np.bool_], padding: int) -> npt.NDArray[np.int64]:
    filled = np.full(mask.shape, padding, dtype=np.int64)
    filled[mask] = values
    return filled


def _rounded(length: int) -> int:
    return -(-length // LENGTH_MULTIPLE) * LENGTH_MULTIPLE


def _to(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor
