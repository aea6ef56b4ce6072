"""How far two models' answers are from each other, and when one is clearly nearer. Imports no torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

Logits = npt.NDArray[np.float32]
Distances = npt.NDArray[np.float64]

#: By so many standard errors of the mean difference. Two: 1 in 40 would be nearer by so much by chance.
CLEARLY = 2.0


def distances(baseline: Logits, candidate: Logits, *, regression: bool) -> Distances:
    """Of each of the ``N`` rows: KL(baseline ‖ candidate) of ``(N, C)`` logits; or the squared difference."""
    ours, theirs = baseline.astype(np.float64), candidate.astype(np.float64)
    if regression:
        squared: Distances = np.square(ours - theirs).mean(axis=1)
        return squared
    aim, found = log_softmax(ours, axis=1), log_softmax(theirs, axis=1)
    divergence: Distances = (np.exp(aim) * (aim - found)).sum(axis=1)
    return divergence


def clearly_less(one: Distances, other: Distances) -> bool:
    """Whether ``one`` is less than ``other``, row by row of the same ``N``, by more than chance; never for one row."""
    differences = other - one
    if len(differences) < 2:
        return False
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return bool(differences.mean() > CLEARLY * error)
