"""F1 of sets of labels, from sums over rows: the score and its interval are worked out by the same code.

Not scikit-learn's: to it one column of yes and no is two classes, and a no given rightly counts as much as a yes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def label_sums(gold: Array, guess: Array) -> Array:
    """``(N, 3 · C)`` of ``(N, C)`` 0 and 1: labels that there are, of these given, given."""
    return np.concatenate([gold, gold * guess, guess], axis=1).astype(np.float64)


def micro_f1(sums: Array) -> Array:
    """Over all labels alike, of ``(..., 3 · C)`` sums; 0 to 1."""
    gold, right, given = (part.sum(axis=-1) for part in thirds(sums))
    return ratio(2 * right, gold + given)


def macro_f1(sums: Array) -> Array:
    """The mean of each label's, of ``(..., 3 · C)`` sums; 0 to 1."""
    gold, right, given = thirds(sums)
    return np.asarray(ratio(2 * right, gold + given).mean(axis=-1))


def ratio(part: Array, whole: Array) -> Array:
    """0 where there is nothing, as scikit-learn has it."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def thirds(sums: Array) -> tuple[Array, Array, Array]:
    gold, right, given = np.split(sums, 3, axis=-1)
    return gold, right, given
