"""How far two models' answers are from each other, and when one is clearly nearer. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_expit, log_softmax

Numbers = npt.NDArray[np.float32]
Distances = npt.NDArray[np.float64]

#: By so many standard errors of the mean difference. Two: 1 in 40 would be nearer by so much by chance.
CLEARLY = 2.0


def squared_differences(reference: Numbers, answers: Numbers) -> Distances:
    """Of each of ``N`` rows of ``(N, C)`` numbers, the mean."""
    squared: Distances = np.square(reference.astype(np.float64) - answers.astype(np.float64)).mean(axis=1)
    return squared


def divergences(reference: Numbers, answers: Numbers) -> Distances:
    """Of each of ``N`` rows, KL(reference ‖ answers) of ``(N, C)`` logits."""
    ours, theirs = reference.astype(np.float64), answers.astype(np.float64)
    aim, found = log_softmax(ours, axis=1), log_softmax(theirs, axis=1)
    divergence: Distances = (np.exp(aim) * (aim - found)).sum(axis=1)
    return divergence


def yes_or_no_divergences(reference: Numbers, answers: Numbers) -> Distances:
    """The same where each of the ``C`` logits is of a yes and a no of its own; the sum over these."""
    ours, theirs = reference.astype(np.float64), answers.astype(np.float64)
    yes = expit(ours) * (log_expit(ours) - log_expit(theirs))
    no = expit(-ours) * (log_expit(-ours) - log_expit(-theirs))
    divergence: Distances = (yes + no).sum(axis=1)
    return divergence


def cosines(one: Numbers, other: Numbers) -> Distances:
    """Of each of ``N`` rows of ``(N, D)`` vectors; 0 where one of them has no length."""
    ours, theirs = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosine: Distances = np.divide((ours * theirs).sum(axis=1), lengths, out=np.zeros(len(ours)), where=lengths > 0)
    return cosine


#: By the form of answers.
DISTANCES: dict[str, Callable[[Numbers, Numbers], Distances]] = {
    "classes": divergences,
    "number": squared_differences,
    "yes_or_no": yes_or_no_divergences,
    "vector": lambda reference, answers: 1 - cosines(reference, answers),
}


def clearly_less(one: Distances, other: Distances) -> bool:
    """Whether ``one`` is less than ``other``, row by row of the same ``N``, by more than chance; never for one row."""
    differences = other - one
    if len(differences) < 2:
        return False
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return bool(differences.mean() > CLEARLY * error)
