"""Whether two models find the same neighbours: what tells whether an index has to be made again. Imports no torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

#: Of each text.
NEIGHBOURS = 10
#: Texts among which neighbours are looked for: as many products as the square of it.
MOST_TEXTS = 5000
BLOCK_ROWS = 1024


def shared_neighbours(one: Vectors, other: Vectors) -> npt.NDArray[np.float64]:
    """Of each of the first ``MOST_TEXTS`` of ``N`` texts: the share of its ten nearest, by cosine and without itself,
    in ``(N, D)`` vectors that are among its ten nearest in the others, ``(N, E)``. Of fewer than eleven texts, all
    others are near. NaN where a vector of the text's is not of finite numbers. Of texts that are equally near, which
    are among the ten is left to the partition: texts that are all alike share what they happen to.
    """
    finite = np.isfinite(one[:MOST_TEXTS]).all(axis=1) & np.isfinite(other[:MOST_TEXTS]).all(axis=1)
    nearest = [_nearest(vectors[:MOST_TEXTS]) for vectors in (one, other)]
    count = nearest[0].shape[1]
    both = zip(*nearest, strict=True)
    shared = np.array([len(set(ours) & set(theirs)) / count if count else 1.0 for ours, theirs in both])
    return np.where(finite, shared, np.nan)


def _nearest(vectors: Vectors) -> npt.NDArray[np.int64]:
    """``(N, K)`` indexes, in no order."""
    vectors = np.where(np.isfinite(vectors).all(axis=1, keepdims=True), vectors, 0)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    count = min(NEIGHBOURS, len(unit) - 1)
    found = np.empty((len(unit), count), dtype=np.int64)
    for start in range(0, len(unit), BLOCK_ROWS):
        near = unit[start : start + BLOCK_ROWS] @ unit.T
        rows = np.arange(len(near))
        near[rows, start + rows] = -np.inf
        found[start : start + BLOCK_ROWS] = np.argpartition(-near, count - 1, axis=1)[:, :count] if count else 0
    return found
