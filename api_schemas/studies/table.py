"""The table of a study: from what is known of its cells to its rows, one for all seeds of a combination."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from api_schemas.jobs import Result
from api_schemas.recovery import RecoverySpec
from api_schemas.studies.shown import CellState, StudyCell, StudyRow


@dataclass(frozen=True)
class CellFacts:
    """What is known of one cell. Flat, so that thousands are cheap."""

    number: int
    model: str
    task: str
    strategy: str
    drop: int | float
    #: The label of the row: see ``recovery_labels``.
    recovery: str
    effort: str
    seed: int
    state: CellState
    reason: str | None = None
    job_id: str | None = None
    known: bool = False
    fraction: float = 0.0
    #: Of its job, once that has succeeded.
    result: Result | None = None
    #: ``evaluation.margin`` of its job.
    margin: float = 0.01
    #: By the plan, where there is no result yet.
    layers_total: int | None = None
    dropped: list[int] | None = None
    #: The task is a table of the user's own: nothing is published of it, whatever its name.
    own_data: bool = False
    #: ``task.max_train_rows``: is said beside a published number.
    max_train_rows: int | None = None


#: What a row is of.
row_key: Callable[[CellFacts], tuple[object, ...]] = attrgetter(
    "model", "task", "strategy", "drop", "recovery", "effort"
)


def table_of(cells: Sequence[CellFacts]) -> list[StudyRow]:
    """Rows in the order in which they first appear; the cells of each by seed."""
    rows = [_row(sorted(alike, key=attrgetter("seed", "number"))) for alike in _by_row(cells)]

    return rows


def warnings_of(cells: Sequence[CellFacts]) -> list[str]:
    """What to know before the numbers are compared."""
    return []


def recovery_labels(recoveries: Sequence[RecoverySpec]) -> list[str]:
    """The method of each; of several that have the same, with their number behind from the second on."""
    return numbered([recovery.method for recovery in recoveries])


def numbered(names: Sequence[str]) -> list[str]:
    """``names`` made distinct: ``a``, ``a #2``, ``a #3``."""
    seen: dict[str, int] = {}
    labels = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        labels.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return labels


def _by_row(cells: Iterable[CellFacts]) -> Iterable[list[CellFacts]]:
    rows: dict[tuple[object, ...], list[CellFacts]] = {}
    for cell in cells:
        rows.setdefault(row_key(cell), []).append(cell)
    return rows.values()


def _row(cells: list[CellFacts]) -> StudyRow:
    first = cells[0]
    return StudyRow(
        model=first.model,
        task=first.task,
        strategy=first.strategy,
        drop=first.drop,
        recovery=first.recovery,
        effort=first.effort,
        cells=[_cell(cell) for cell in cells],
    )


def _cell(cell: CellFacts) -> StudyCell:
    result = cell.result
    return StudyCell(
        number=cell.number,
        seed=cell.seed,
        state=cell.state,
        reason=cell.reason,
        job_id=cell.job_id,
        known=cell.known,
        fraction=cell.fraction,
        score_before=result and result.score_before,
        score_after=result and result.score_after,
        retention=result and result.retention,
        outcome=result and result.outcome,
    )
