"""Successive halving: few steps for many candidates, more for the better ones. Imports no torch.

Jamieson & Talwalkar 2016, arXiv 1502.07943; here a third goes on from each rung, so that what a candidate gets grows
threefold. Losing a layer and learning to do without it are two things: so no candidate is out by its answers before any
training, unless there are more than the first rung takes.

The usual choice is on every rung, and wins unless another is clearly nearer to the baseline on the last one: after a
few steps and on a few held-out rows, which the baseline knows, who is nearest is partly chance.
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
#: The strategy whose choice is the usual one: the best of the fixed ones in the paper (Sajjad et al. 2023, section 5).
USUAL = "top"

Try = Callable[[Candidate, int], Trial]
#: Whether the first is nearer than the second by its last trial, and not by chance.
Nearer = Callable[[Candidate, Candidate], bool]


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
    candidates: Sequence[Candidate], budget: int, attempt: Try, clearly_nearer: Nearer, rung_done: Callable[[], None]
) -> list[Candidate]:
    """The candidates with their trials, the winner first. ``rung_done`` is told each time a rung is finished."""
    ranked = _rung(candidates, 0, attempt)
    rung_done()
    for rung in rungs(len(candidates), budget):
        ranked = _usual_first(ranked)
        ranked = _rung(ranked[: rung.entrants], rung.steps, attempt) + ranked[rung.entrants :]
        rung_done()
    nearest, led = ranked[0], _usual_first(ranked)
    return ranked if led[0] is nearest or clearly_nearer(nearest, led[0]) else led


def _usual_first(ranked: list[Candidate]) -> list[Candidate]:
    """Unless its training diverged."""
    usual = next((one for one in ranked if USUAL in one.strategies and one.last.distance is not None), None)
    return ranked if usual is None else [usual, *(one for one in ranked if one is not usual)]


def _rung(candidates: Sequence[Candidate], steps: int, attempt: Try) -> list[Candidate]:
    tried = [one.model_copy(update={"trials": [*one.trials, attempt(one, steps)]}) for one in candidates]
    return sorted(tried, key=lambda one: math.inf if one.last.distance is None else one.last.distance)
