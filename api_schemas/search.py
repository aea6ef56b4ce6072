"""How `auto` chooses a size by what its brackets found.

Candidates of one size compete in a ``Bracket``; the best of each size is a point of the curve. Nothing here trains: the
worker runs the brackets, the gateway reads those that were kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from api_schemas.objectives import Objective
from api_schemas.reports import Bracket, CurvePoint, Latency, Measurements

#: Of the steps of one full recovery: what all candidates of a size may take together.
BRACKET_SHARE = 0.5
#: … and, where sizes compete by what is left of the score, what the best of a size takes beyond that to be judged by.
RETENTION_SHARE = 0.5
#: Speed is measured twice, before the search and in the report: the first must leave room for the second.
LATENCY_HEADROOM = 0.97


class Unknown(Exception):
    """A bracket that is needed was not run yet."""


def largest_fitting(sizes: Sequence[int], fits: Callable[[int], bool]) -> int | None:
    """The largest of ascending ``sizes`` that ``fits``, taking it that all below one that does do too; by bisection."""
    low, high = 0, len(sizes)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if fits(sizes[middle]) else (low, middle)
    return sizes[low - 1] if low else None


def most_asked(sizes: int) -> int:
    """How many of so many sizes ``largest_fitting`` looks at, at most."""
    return math.ceil(math.log2(sizes + 1))


def most_steps(full: int, sizes: int, *, by_retention: bool) -> int:
    """Optimizer steps that a search among so many sizes takes at most, about; ``full``: those of one recovery."""
    if not by_retention:
        return math.ceil(full * BRACKET_SHARE)
    return math.ceil(full * (BRACKET_SHARE + RETENTION_SHARE)) * most_asked(sizes)


def choose_by_retention(sizes: Sequence[int], wanted: float, run_bracket: Callable[[int], Bracket]) -> int:
    """The largest size whose best keeps ``wanted``; where none does, the smallest, which loses least."""
    return largest_fitting(sizes, lambda drop: (run_bracket(drop).retention or 0.0) >= wanted) or sizes[0]


def choose_by_latency(sizes: Sequence[int], wanted: float, latencies: dict[int, Latency]) -> int:
    """The smallest size that is fast enough, with room for noise; where none is, the fastest."""
    quick = [drop for drop in sizes if latencies[drop].p50_ms <= wanted * LATENCY_HEADROOM]
    return quick[0] if quick else min(sizes, key=lambda drop: latencies[drop].p50_ms)


def with_front(curve: Sequence[CurvePoint]) -> list[CurvePoint]:
    """Each point told whether it is on the front: none that is as small or smaller keeps as much or more.

    The whole model (drop 0) keeps all of its own score. Points without a retention are not compared.
    """
    scored = [(0, 1.0), *((point.drop, point.retention) for point in curve if point.retention is not None)]

    def best(point: CurvePoint) -> bool:
        kept = point.retention
        return kept is not None and not any(
            drop >= point.drop and other >= kept and (drop, other) != (point.drop, kept) for drop, other in scored
        )

    return [point.model_copy(update={"front": best(point)}) for point in curve]


def shortfall(objective: Objective, after: Measurements, retention: float | None) -> str | None:
    """What keeps the delivered model from meeting ``objective``, by its measured figures; None where it does."""
    if objective.min_retention is not None and (retention or 0.0) < objective.min_retention:
        kept = "no score to compare" if retention is None else f"{retention:.2%} of the baseline's score on dev"
        return f"the best model found keeps {kept}, and {objective.min_retention:.2%} was asked for"
    if objective.max_params is not None and after.parameters > objective.max_params:
        return f"the model has {after.parameters} parameters, and at most {objective.max_params} were asked for"
    if objective.max_latency_ms is None:
        return None
    # A model may read no more tokens than were asked for: then it was measured at what it can read.
    rows, tokens = objective.cell or (1, 1)
    cells = [cell for cell in after.latency if cell.batch_size == rows and cell.sequence_length <= tokens]
    found = max(cells, key=lambda cell: cell.sequence_length, default=None)
    if found is None or found.p50_ms > objective.max_latency_ms:
        took = "was not measured" if found is None else f"took {found.p50_ms:.2f} ms (p50, batch {rows} × {tokens})"
        return f"the fastest model found {took}, and at most {objective.max_latency_ms:g} ms were asked for"
    return None
