"""Which job to download: of each model and task the fastest that keeps what is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable

from api_schemas.studies.front import by_model_and_task, size_of
from api_schemas.studies.shown import CellState, Pick, StudyCell, StudyRow


def picks_of(rows: Iterable[StudyRow], min_retention: float, *, sure: bool) -> list[Pick]:
    """``sure``: it is the low end of the interval that must keep ``min_retention``, and not the mean."""
    return [_pick(alike, min_retention, sure) for alike in by_model_and_task(rows).values()]


def _pick(rows: list[StudyRow], least: float, sure: bool) -> Pick:
    model, task = rows[0].model, rows[0].task
    known = [(kept, row) for row in rows if (kept := _kept(row, sure)) is not None and _has_files(row)]
    enough = [row for kept, row in known if kept >= least]
    if not enough:
        reason = _why_none(rows, [kept for kept, _ in known], least, sure)
        return Pick(model=model, task=task, job_id=None, download=None, row=None, reason=reason)
    size = size_of(enough)
    best = min(enough, key=lambda row: (size(row), row.parameters_after or math.inf, -(_kept(row, sure=False) or 0)))
    cell = _cell(best, least)
    reason = _why(best, enough, least, sure) + _of_cell(best, cell, least) + _gone(rows, least, sure)
    return Pick(model=model, task=task, job_id=cell.job_id, download=None, row=best, reason=reason)


def _why(best: StudyRow, enough: list[StudyRow], least: float, sure: bool) -> str:
    by = "fastest" if best.latency_ms and size_of(enough)(best) == best.latency_ms.mean else "smallest"
    of = f"the {by} of {len(enough)} rows that keep" if len(enough) > 1 else "the only row that keeps"
    return f"{of} {100 * least:.6g} % of the score{_SURE[sure]}: it keeps {_percent(_kept(best, sure) or 0)}"


def _why_none(rows: list[StudyRow], known: list[float], least: float, sure: bool) -> str:
    if known:
        best = f"the best keeps {_percent(max(known))}"
        return f"no row keeps {100 * least:.6g} % of the score{_SURE[sure]}: {best}{_gone(rows, least, sure)}"
    if gone := _gone(rows, least, sure):
        return gone.removeprefix("; ")
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


def _to_download(row: StudyRow) -> list[StudyCell]:
    """Those that succeeded, and whose files are kept."""
    return [cell for cell in row.cells if cell.state is CellState.SUCCEEDED and cell.job_id and cell.has_files]


def _has_files(row: StudyRow) -> bool:
    return bool(_to_download(row))


def _cell(row: StudyRow, least: float) -> StudyCell:
    """Of the seeds that keep enough by themselves, that nearest to the mean; where none does, the best."""
    cells = _to_download(row)
    mean = row.retention.mean if row.retention else 0.0
    kept = [(cell.retention, at) for at, cell in enumerate(cells) if cell.retention is not None]
    enough = [(abs(retention - mean), at) for retention, at in kept if retention >= least]
    if enough:
        return cells[min(enough)[1]]
    return max(cells, key=lambda cell: cell.retention if cell.retention is not None else -math.inf)


def _of_cell(row: StudyRow, cell: StudyCell, least: float) -> str:
    """What to know of the one job that is taken for all seeds."""
    if cell.retention is None or cell.retention >= least:
        return "" if len(row.cells) == 1 else f"; the job is that of seed {cell.seed}"
    kept = f"; but of the seeds whose files are kept none does by itself: the best, seed {cell.seed}, keeps"
    return f"{kept} {_percent(cell.retention)}"


def _gone(rows: list[StudyRow], least: float, sure: bool) -> str:
    """Of rows that would do, but for their files."""
    gone = [
        row for row in rows
        if (kept := _kept(row, sure)) is not None and kept >= least and not _has_files(row)
    ]  # fmt: skip
    if not gone:
        return ""
    count = f"{len(gone)} rows that keep" if len(gone) > 1 else "a row that keeps"
    return f"; {count} enough {'have' if len(gone) > 1 else 'has'} no files any more: resume the study `without_files`"
