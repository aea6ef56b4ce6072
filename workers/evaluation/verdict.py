"""Whether the score was kept, by non-inferiority: not being able to tell is not being as good."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from api_schemas.reports import Decision, Interval, Measurements, Outcome
from workers.evaluation.bootstrap import Intervals, Reach

NO_TASK = "there is no task to score it on"
#: More rows than that are not asked for by number.
MOST_ROWS = 1_000_000


@dataclass(frozen=True)
class Comparison:
    """``margin`` is a share of the score before. ``missing`` is a label that no row has, where ``metric`` is a mean
    that counts it. ``alone``: the model stays as it is, and both sides are one.
    """

    before: Measurements
    after: Measurements
    metric: str | None
    margin: float
    rows: int | None = None
    intervals: Intervals | None = None
    missing: str | None = None
    unscored: str = NO_TASK
    alone: bool = False


#: Of an interval of the gain and a margin, both in points; the first that holds is said.
OUTCOMES: tuple[tuple[Outcome, Callable[[Interval, float], bool]], ...] = (
    ("better", lambda gain, margin: gain.low > 0),
    ("kept", lambda gain, margin: gain.low > -margin),
    ("lost", lambda gain, margin: gain.high < -margin),
    ("undecided", lambda gain, margin: True),
)

#: What is said of those that are decided.
SENTENCES: dict[Outcome, str] = {
    "better": "by at least {low:.2f} points ({gain})",
    "kept": "at most {loss:.2f} points are lost, and {margin:.2f} may be ({gain})",
    "lost": "at least {least:.2f} points are gone, and {margin:.2f} may be ({gain})",
}


def outcome_of(gain: Interval, margin: float) -> Outcome:
    return next(outcome for outcome, holds in OUTCOMES if holds(gain, margin))


def verdict(decision: Decision) -> str:
    """One sentence that a person can act on; it begins with the outcome."""
    return decision.why if decision.outcome is None else f"{decision.outcome}: {decision.why}"


def decide(compared: Comparison) -> Decision:
    before, after, margin, rows = compared.before.score, compared.after.score, compared.margin, compared.rows
    reason = _not_compared(compared)
    if reason is not None:
        return Decision(outcome=None, margin=margin, rows=rows, why=reason)
    reason = _not_decidable(compared)
    if reason is not None or before is None or after is None or compared.intervals is None:
        return Decision(outcome="undecided", margin=margin, rows=rows, why=reason or "one row cannot tell")
    points, interval = margin * before, compared.intervals.gain
    outcome = outcome_of(interval, points)
    gain = (
        f"{after - before:+.2f} points, {interval.confidence:.0%} interval {interval.low:+.2f} to {interval.high:+.2f}"
    )
    said = SENTENCES.get(outcome, "{reason} ({gain}; {margin:.2f} may be lost)")
    needed = None
    if outcome == "undecided":
        needed, reason = _cannot_tell(compared, after - before + points, compared.intervals)
    why = said.format(
        low=interval.low, loss=-interval.low, least=-interval.high, margin=points, gain=gain, reason=reason
    )
    return Decision(outcome=outcome, margin=margin, margin_points=points, rows=rows, rows_needed=needed, why=why)


def _not_compared(compared: Comparison) -> str | None:
    if compared.after.scores is None:
        return f"not scored: {compared.unscored}"
    if compared.alone:
        score = compared.after.score
        scored = _undefined(compared, compared.after) if score is None else f"{compared.metric} is {score:.2f}"
        return f"evaluated: {scored}, and nothing was dropped"
    if compared.before.scores is None:
        score = compared.after.score
        scored = f"the score is {score:.2f}" if score is not None else _undefined(compared, compared.after)
        return f"not compared: {scored}, and there is no baseline"
    return None


def _not_decidable(compared: Comparison) -> str | None:
    for name, side in (("before", compared.before), ("after", compared.after)):
        if side.score is None:
            return f"{_undefined(compared, side)}, of the model {name}"
    if (compared.before.score or 0.0) <= 0:
        return f"the baseline scores {compared.before.score:.2f}, and no share of that is a margin"
    return None


def _undefined(compared: Comparison, side: Measurements) -> str:
    return f"{compared.metric} is not defined ({side.undefined.get(compared.metric or '', 'no reason is known')})"


def _cannot_tell(compared: Comparison, distance: float, intervals: Intervals) -> tuple[int | None, str]:
    """How many rows would tell, and the reason in words. ``distance`` is from the margin to the gain."""
    if compared.missing is not None:
        return None, f"no row has the label {compared.missing!r}, whose f1 counts as much as any other's"
    rows = compared.rows or 0
    reach = intervals.down if distance > 0 else intervals.up
    if 0 < abs(distance) <= reach.seeds:
        seeds = len(compared.after.scores.by_seed) if compared.after.scores else 1
        return None, f"{seeds} training seeds cannot tell, however many rows they are scored on: more seeds would"
    needed = rows_needed(rows, reach, abs(distance))
    if needed is None:
        return None, f"{rows} rows cannot tell; more than a million would"
    return needed, f"{rows} rows cannot tell; about {needed} would"


def rows_needed(rows: int, reach: Reach, distance: float) -> int | None:
    """With how many rows the interval's end would be ``distance`` points from the point; None beyond ``MOST_ROWS``."""
    left = math.sqrt(max(0.0, distance**2 - reach.seeds**2))
    # The root of rows / needed is the x of unseen · x² + rows · x = left.
    root = 2 * left / (reach.rows + math.sqrt(reach.rows**2 + 4 * reach.unseen * left)) if left else 0.0
    if root**2 * MOST_ROWS < rows:
        return None
    needed = max(rows + 1, math.ceil(rows / root**2))
    step: int = 10 ** max(0, len(str(needed)) - 2)
    return int(math.ceil(needed / step) * step)
