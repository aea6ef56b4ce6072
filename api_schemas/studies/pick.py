"""Which job to download: of each model and task the fastest that keeps what is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable

from api_schemas.studies.front import by_model_and_task, size_of
from api_schemas.studies.shown import CellState, Pick, StudyRow


def picks_of(rows: Iterable[StudyRow], min_retention: float, *, sure: bool) -> list[Pick]:
    """``sure``: it is the low end of the interval that must keep ``min_retention``, and not the mean."""
    return [_pick(alike, min_retention, sure) for alike in by_model_and_task(rows).values()]


def _pick(rows: list[StudyRow], least: float, sure: bool) -> Pick:
    model, task = rows[0].model, rows[0].task
    known = [(kept, row) for row in rows if (kept := _kept(row, sure)) is not None and _job(row) is not None]
    enough = [row for kept, row in known if kept >= least]
    if not enough:
        reason = _why_none(rows, [kept for kept, _ in known], least, sure)
        return Pick(model=model, task=task, job_id=None, download=None, row=None, reason=reason)
    size = size_of(enough)
    best = min(enough, key=lambda row: (size(row), row.parameters_after or math.inf, -(_kept(row, sure=False) or 0)))
    return Pick(
        model=model,
        task=task,
        job_id=_job(best),
        download=None,
        row=best,
        reason=_why(best, enough, least, sure),
    )


def _why(best: StudyRow, enough: list[StudyRow], least: float, sure: bool) -> str:
    by = "fastest" if best.latency_ms and size_of(enough)(best) == best.latency_ms.mean else "smallest"
    of = f"the {by} of {len(enough)} rows that keep" if len(enough) > 1 else "the only row that keeps"
    return f"{of} {100 * least:.6g} % of the score{_SURE[sure]}: it keeps {_percent(_kept(best, sure) or 0)}"


def _why_none(rows: list[StudyRow], known: list[float], least: float, sure: bool) -> str:
    if known:
        best = f"the best keeps {_percent(max(known))}"
        return f"no row keeps {100 * least:.6g} % of the score{_SURE[sure]}: {best}"
    what = "an interval" if sure and any(row.retention for row in rows) else "a score to compare"
    yet = " yet" if any(cell.state.open for row in rows for cell in row.cells) else ""
    return f"no row has {what}{yet}"


#: Behind the share that is asked for.
_SURE = {True: " by the low end of its interval", False: " on average"}


def _percent(share: float) -> str:
    """Rounded down, so that what keeps too little does not look as if it kept enough."""
    return f"{math.floor(1000 * share + 1e-9) / 10:.1f} %"


def _kept(row: StudyRow, sure: bool) -> float | None:
    if sure:
        return row.retention_interval.low if row.retention_interval else None
    return row.retention.mean if row.retention else None


def _job(row: StudyRow) -> str | None:
    """Of the first seed that has succeeded."""
    return next((cell.job_id for cell in row.cells if cell.state is CellState.SUCCEEDED and cell.job_id), None)
