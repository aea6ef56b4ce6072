"""The table of a study: a row for each combination, sorted and paged, with its seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from api_schemas.studies.shown import CellState, PublishedNumber, Spread, StudyCell, StudyRow
from service.pages.views.jobs import model_name, shortened
from service.pages.views.states import OUTCOMES, Word
from service.pages.words import percent, plural

#: Rows of a page.
PAGE = 200
#: Of an interval of retention: a wider one leaves half of all that could be.
WIDEST = 0.5

CELLS: dict[CellState, Word] = {
    CellState.WAITING: Word("Waiting", "quiet", "hollow", "No job has been queued for it yet."),
    CellState.QUEUED: Word("Queued", "waiting", "hollow", "Its job waits for a worker."),
    CellState.RUNNING: Word("Running", "active", "half", "A worker is at it."),
    CellState.SUCCEEDED: Word("Succeeded", "good", "check", "Its job is done."),
    CellState.FAILED: Word("Failed", "bad", "cross", "Its job ended with an error."),
    CellState.CANCELLED: Word("Cancelled", "quiet", "bar", "It was stopped on request."),
    CellState.IMPOSSIBLE: Word("Impossible", "bad", "bar", "It cannot be done; the reason is beside it."),
    CellState.STOPPED: Word("Stopped early", "waiting", "bar", "Others of its size were clearly better."),
    CellState.UNPAID: Word("Not paid for", "waiting", "bar", "The budget was used up before."),
}


@dataclass(frozen=True)
class Seed:
    seed: int
    state: Word
    reason: str
    path: str | None
    known: bool
    score_before: float | None
    score_after: float | None
    retention: float | None
    outcome: Word | None


@dataclass(frozen=True)
class Row:
    """``state`` is of its cells, where none has a result; ``reason`` says why."""

    id: str
    model: str
    task: str
    strategy: str
    drop: str
    mend: str
    path: str | None
    layers: str
    score: str
    score_before: str
    metric: str
    retention: str
    interval: str
    outcome: Word | None
    verdict: str
    parameters_after: int | None
    bytes_before: int | None
    bytes_after: int | None
    speedup: str
    latency: str
    published: PublishedNumber | None
    front: bool
    state: Word | None
    open: str
    reason: str
    seeds: list[Seed]


def study_row(row: StudyRow) -> Row:
    states = Counter(cell.state for cell in row.cells)
    reasons = list(dict.fromkeys(cell.reason for cell in row.cells if cell.reason))
    return Row(
        id=str(row.cells[0].number) if row.cells else "",
        model=shortened(model_name(row.model)),
        task=shortened(row.task.rpartition("/")[2] or row.task),
        strategy=row.strategy,
        drop=drop_text(row.drop),
        mend=row.recovery if row.effort == "auto" else f"{row.recovery}, {row.effort}",
        path=next((f"/ui/jobs/{cell.job_id}" for cell in row.cells if cell.job_id), None),
        layers="" if row.layers_total is None else _layers(row),
        score=_spread(row.score_after),
        score_before=_spread(row.score_before),
        metric=row.metric or "",
        retention=percent(row.retention.mean) if row.retention else "",
        interval=_interval(row),
        outcome=OUTCOMES[row.outcome] if row.outcome else None,
        verdict=row.verdict or "",
        parameters_after=row.parameters_after,
        bytes_before=row.bytes_before,
        bytes_after=row.bytes_after,
        speedup=f"{row.speedup.mean:.2f} ×" if row.speedup else "",
        latency=f"{row.latency_ms.mean:.1f} ms" if row.latency_ms else "",
        published=row.published,
        front=row.front,
        state=_state(states),
        open=_open(states),
        reason=shortened_long("; ".join(reasons[:3])),
        seeds=[_seed(cell) for cell in row.cells],
    )


def shortened_long(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:299]}…"


def drop_text(drop: float) -> str:
    return f"{drop:g}" if drop >= 1 else f"{drop * 100:.3g} %"


def _layers(row: StudyRow) -> str:
    return f"{row.layers_total} → {row.layers_kept}" if row.layers_kept is not None else f"{row.layers_total}"


def _spread(found: Spread | None) -> str:
    if found is None:
        return ""
    return f"{found.mean:.2f}" if found.std is None else f"{found.mean:.2f} ± {found.std:.2f}"


def _interval(row: StudyRow) -> str:
    found = row.retention_interval
    if found is None:
        return ""
    # Two seeds that differ leave room for anything, also for less than nothing: the numbers would say no more.
    if found.high - found.low > WIDEST:
        return f"too few seeds to tell: {len(row.cells)}" if len(row.cells) > 1 else "too few rows to tell"
    return f"{found.low * 100:.1f} to {found.high * 100:.1f} %"


def _state(states: Counter[CellState]) -> Word | None:
    """What stands for the row while nothing has succeeded: the one that is furthest on."""
    if states[CellState.SUCCEEDED]:
        return None
    order = (
        CellState.RUNNING, CellState.QUEUED, CellState.WAITING, CellState.FAILED, CellState.STOPPED, CellState.UNPAID,
        CellState.CANCELLED, CellState.IMPOSSIBLE,
    )  # fmt: skip
    return next((CELLS[state] for state in order if states[state]), None)


def _open(states: Counter[CellState]) -> str:
    left = sum(count for state, count in states.items() if state.open)
    return f"{left} of {plural(sum(states.values()), 'seed')} to come" if left and sum(states.values()) > 1 else ""


def _seed(cell: StudyCell) -> Seed:
    return Seed(
        seed=cell.seed,
        state=CELLS[cell.state],
        reason=shortened_long(cell.reason or ""),
        path=f"/ui/jobs/{cell.job_id}" if cell.job_id else None,
        known=cell.known,
        score_before=cell.score_before,
        score_after=cell.score_after,
        retention=cell.retention,
        outcome=OUTCOMES[cell.outcome] if cell.outcome else None,
    )


def _mean(found: Spread | None) -> float | None:
    return found.mean if found else None


#: What the table can be sorted by, with the heads of its columns.
SORTS: dict[str, tuple[str, Callable[[StudyRow], Any]]] = {
    "row": ("Row", lambda row: (row.model, row.task, row.strategy, row.drop)),
    "layers": ("Layers", lambda row: row.layers_kept),
    "score": ("Score", lambda row: _mean(row.score_after)),
    "published": ("Published", lambda row: row.published.score if row.published else None),
    "retention": ("Retention", lambda row: _mean(row.retention)),
    "verdict": ("Verdict", lambda row: row.outcome),
    "size": ("Size", lambda row: row.bytes_after),
    "speed": ("Speed-up", lambda row: _mean(row.speedup)),
}


def is_sort(text: str) -> bool:
    return text.removeprefix("-") in SORTS


def sorted_rows(rows: Sequence[StudyRow], sort: str) -> list[StudyRow]:
    """By a name of ``SORTS``, with a minus from the highest down; rows without a value come last, whatever the way."""
    if not is_sort(sort):
        return list(rows)
    _, key = SORTS[sort.removeprefix("-")]
    known = [row for row in rows if key(row) is not None]
    unknown = [row for row in rows if key(row) is None]
    return sorted(known, key=key, reverse=sort.startswith("-")) + unknown
