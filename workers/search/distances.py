"""How far two models' answers are from each other. Imports no torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

Logits = npt.NDArray[np.float32]


def distance(baseline: Logits, candidate: Logits, *, regression: bool) -> float:
    """Mean over the ``N`` rows of KL(baseline ‖ candidate) of ``(N, C)`` logits; or of the squared difference."""
    ours, theirs = baseline.astype(np.float64), candidate.astype(np.float64)
    if regression:
        return float(np.square(ours - theirs).mean())
    aim, found = log_softmax(ours, axis=1), log_softmax(theirs, axis=1)
    return float((np.exp(aim) * (aim - found)).sum(axis=1).mean())
