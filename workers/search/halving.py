"""Successive halving: few steps for many candidates, more for the better ones. Imports no torch.

Jamieson & Talwalkar 2016, arXiv 1502.07943; here a third goes on from each rung, so that what a candidate gets grows
threefold. Losing a layer and learning to do without it are two things: so no candidate is out by its answers before any
training, unless there are more than the first rung takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from api_schemas.reports import Candidate, Trial

#: Of all candidates, by their answers before any training.
FIRST_RUNG = 8
#: Of a rung, one in so many goes on.
KEEP_ONE_IN = 3

Try = Callable[[Candidate, int], Trial]


class Rung(NamedTuple):
    entrants: int
    steps: int  # of each


def rungs(candidates: int, budget: int) -> list[Rung]:
    """Every rung has the same share of ``budget`` steps; one step each at the least. None for a single candidate."""
    entrants = [min(candidates, FIRST_RUNG)]
    while entrants[-1] > 1:
        entrants.append(math.ceil(entrants[-1] / KEEP_ONE_IN))
    rounds = entrants[:-1]
    return [Rung(count, max(1, budget // len(rounds) // count)) for count in rounds]


def compete(
    candidates: Sequence[Candidate], budget: int, attempt: Try, rung_done: Callable[[], None]
) -> list[Candidate]:
    """The candidates with their trials, the best first. ``rung_done`` is told each time a rung is finished."""
    ranked = _rung(candidates, 0, attempt)
    rung_done()
    for rung in rungs(len(candidates), budget):
        ranked = _rung(ranked[: rung.entrants], rung.steps, attempt) + ranked[rung.entrants :]
        rung_done()
    return ranked


def _rung(candidates: Sequence[Candidate], steps: int, attempt: Try) -> list[Candidate]:
    tried = [one.model_copy(update={"trials": [*one.trials, attempt(one, steps)]}) for one in candidates]
    return sorted(tried, key=lambda one: math.inf if one.last.distance is None else one.last.distance)
