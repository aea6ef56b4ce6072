"""The table of a study: from what is known of its cells to its rows, one for all seeds of a combination."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeVar

from api_schemas.jobs import Result
from api_schemas.recovery import RecoverySpec
from api_schemas.studies.combine import OfSeed, combine, decide, spread_of
from api_schemas.studies.front import mark_front
from api_schemas.studies.published import published_of
from api_schemas.studies.shown import CellState, PublishedNumber, ShownInterval, Spread, StudyCell, StudyRow

T = TypeVar("T")


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
    #: As asked for: labels may be numbered, and a number of others' is of the very model and task.
    model_id: str | None = None
    task_name: str | None = None
    spec: RecoverySpec | None = None
    #: Of its job, and whether they are still kept.
    has_files: bool = False


_by_seed = attrgetter("seed", "number")
_of_row = attrgetter("model", "task", "strategy", "drop", "recovery", "effort")


def table_of(cells: Sequence[CellFacts]) -> list[StudyRow]:
    """Rows in the order in which they first appear; the cells of each by seed."""
    rows = [_row(sorted(alike, key=_by_seed)) for alike in rows_of(cells)]
    mark_front(rows)
    return rows


def rows_of(cells: Iterable[CellFacts]) -> list[list[CellFacts]]:
    """The cells that differ in nothing but the seed, together."""
    rows: dict[tuple[object, ...], list[CellFacts]] = {}
    for cell in cells:
        rows.setdefault(_of_row(cell), []).append(cell)
    return list(rows.values())


def warnings_of(cells: Sequence[CellFacts]) -> list[str]:
    """What to know before the numbers are compared."""
    rows = rows_of(cells)
    return [text for check in WARNINGS for text in check(cells, rows)]


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


def scored(cells: Iterable[CellFacts]) -> list[tuple[CellFacts, Result]]:
    """Those that have a score, with the result that has it."""
    return [(cell, cell.result) for cell in cells if cell.result is not None and cell.result.score_after is not None]


def dropped_of(cell: CellFacts) -> list[int] | None:
    """Which layers go: as they went, or by the plan."""
    return cell.result.layers_dropped if cell.result is not None else cell.dropped


def _of_devices(cells: Sequence[CellFacts], rows: list[list[CellFacts]]) -> Iterator[str]:
    devices = Counter(cell.result.device for cell in cells if cell.result is not None and cell.result.device)
    if len(devices) > 1:
        named = ", ".join(f"{count} on {device}" for device, count in devices.most_common(5))
        more = f" and {len(devices) - 5} more" if len(devices) > 5 else ""
        yield f"cells were measured on different devices ({named}{more}): latencies and speed-ups do not compare"


def _of_metrics(cells: Sequence[CellFacts], rows: list[list[CellFacts]]) -> Iterator[str]:
    metrics: dict[str, set[str]] = {}
    for cell, result in scored(cells):
        metrics.setdefault(cell.task, set()).add(result.metric or "")
    for task, found in metrics.items():
        if len(found) > 1:
            yield f"scores of {task} are of different metrics ({', '.join(sorted(found))}) and do not compare"


def _of_seeds(cells: Sequence[CellFacts], rows: list[list[CellFacts]]) -> Iterator[str]:
    """Rows that are still open will have more."""
    ended = [len(scored(row)) for row in rows if not any(cell.state.open for cell in row)]
    counts = [count for count in ended if count]
    most = max(counts, default=0)
    if most == 1:
        yield "each row has one seed: its interval is of the rows scored, and says nothing of another training"
    fewer = sum(count < most for count in counts)
    if fewer:
        of = f"{fewer} of {len(counts)} rows with a score are"
        yield f"{of} of fewer seeds than the others ({min(counts)} of {most}): their means are less certain"


def _of_layers(cells: Sequence[CellFacts], rows: list[list[CellFacts]]) -> Iterator[str]:
    unlike = sum(len({tuple(layers) for layers in map(dropped_of, row) if layers is not None}) > 1 for row in rows)
    if unlike:
        yield f"{unlike} of {len(rows)} rows drop other layers with another seed: their means are of different models"


#: What is looked at, in the order in which it is said.
WARNINGS: tuple[Callable[[Sequence[CellFacts], list[list[CellFacts]]], Iterator[str]], ...] = (
    _of_devices,
    _of_metrics,
    _of_seeds,
    _of_layers,
)


def _row(cells: list[CellFacts]) -> StudyRow:
    first, results = cells[0], [cell.result for cell in cells if cell.result is not None]
    total = results[0].layers_total if results else first.layers_total
    dropped = same(layers for layers in map(dropped_of, cells) if layers is not None)
    kept = same(len(result.layers_kept) for result in results)
    if kept is None and total is not None and dropped is not None:
        kept = total - len(dropped)
    return StudyRow(
        model=first.model,
        task=first.task,
        strategy=first.strategy,
        drop=first.drop,
        recovery=first.recovery,
        effort=first.effort,
        cells=[_cell(cell) for cell in cells],
        layers_total=total,
        layers_kept=kept,
        dropped=dropped,
        **(_measured(results) if results else {}),
        **_judged(scored(cells)),
        comparable=_is_comparable(first),
        published=_published(first, same(result.metric for result in results), total, dropped),
    )


def _measured(results: list[Result]) -> dict[str, Any]:
    device = same(result.device for result in results)
    timed = device is not None or all(result.device is None for result in results)
    return {
        "metric": same(result.metric for result in results),
        "parameters_before": results[0].parameters_before,
        "parameters_after": max(result.parameters_after for result in results),
        "bytes_before": results[0].bytes_before,
        "bytes_after": max(result.bytes_after for result in results),
        "speedup": _spread(results, "speedup"),
        "latency_ms": _spread(results, "latency_ms_after") if timed else None,
        "device": device,
    }


def _judged(found: list[tuple[CellFacts, Result]]) -> dict[str, Any]:
    """Scores, interval and verdict; of one seed alone, those of its job."""
    if not found:
        return {}
    results = [result for _, result in found]
    scores = {
        "score_before": _spread(results, "score_before"),
        "score_after": _spread(results, "score_after"),
        "retention": _spread(results, "retention"),
    }
    if len(found) == 1:
        only, interval = results[0], results[0].retention_interval
        shown = interval and ShownInterval(low=interval.low, high=interval.high, confidence=interval.confidence)
        return {**scores, "retention_interval": shown, "outcome": only.outcome, "verdict": only.verdict}
    seeds = [
        OfSeed(result.retention, result.retention_interval.low, result.retention_interval.high)
        for result in results
        if result.retention is not None and result.retention_interval is not None
    ]
    if len(seeds) < len(found):
        return {**scores, "outcome": "undecided", "verdict": "undecided: not every seed has an interval"}
    combined = combine(seeds)
    decided = decide(combined, found[0][0].margin)
    return {
        **scores,
        "retention_interval": combined.interval,
        "outcome": decided.outcome,
        "verdict": decided.verdict,
    }


def _published(
    cell: CellFacts, metric: str | None, total: int | None, dropped: list[int] | None
) -> PublishedNumber | None:
    """Of ``top`` only where it is the top that goes: protected layers make it another cell."""
    count = len(dropped) if dropped is not None else cell.drop
    if not _is_comparable(cell) or total is None or not isinstance(count, int):
        return None
    if dropped is not None and sorted(dropped) != list(range(total - count, total)):
        return None
    method = cell.spec.method if cell.spec else cell.recovery.partition(" #")[0]
    model, task = cell.model_id or cell.model, cell.task_name or cell.task
    found = published_of(model, task, cell.strategy, count, total, metric=metric, recovery_method=method)
    if found is None:
        return None
    notes = [*_unlike(cell), found.note]
    return found.model_copy(update={"note": "; ".join(note for note in notes if note)})


def _is_comparable(cell: CellFacts) -> bool:
    """Whether a number of others' may stand beside it, of the same model and task."""
    return not cell.own_data and (cell.spec is None or cell.spec.from_ is None)


#: Of a recovery: what it is called, and how it learns of which task are said elsewhere.
_SAID = frozenset({"method", "effort", "from_"})


def _unlike(cell: CellFacts) -> Iterator[str]:
    """What the row was given that the paper's was not."""
    if cell.max_train_rows is not None:
        yield f"this row has learnt from {cell.max_train_rows} rows at most, the paper's from all"
    fields = type(cell.spec).model_fields if cell.spec else {}
    own = [name for name in fields if name not in _SAID and getattr(cell.spec, name) != fields[name].default]
    if own:
        yield f"this row's recovery has values of its own: {', '.join(own)}"


def _cell(cell: CellFacts) -> StudyCell:
    result = cell.result
    return StudyCell(
        number=cell.number,
        seed=cell.seed,
        state=cell.state,
        reason=cell.reason,
        job_id=cell.job_id,
        known=cell.known,
        has_files=cell.has_files,
        fraction=cell.fraction,
        score_before=result and result.score_before,
        score_after=result and result.score_after,
        retention=result and result.retention,
        outcome=result and result.outcome,
    )


def same(values: Iterable[T]) -> T | None:
    """What all of ``values`` are; None where they differ."""
    rest = iter(values)
    first = next(rest, None)
    for value in rest:
        if value != first:
            return None
    return first


def _spread(results: list[Result], name: str) -> Spread | None:
    return spread_of([value for result in results if (value := getattr(result, name)) is not None])
