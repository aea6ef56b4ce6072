"""The Pareto front: the rows of a model and task of which no other is both faster (or smaller) and better."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from api_schemas.studies.shown import StudyRow


def mark_front(rows: Iterable[StudyRow]) -> None:
    """Set ``front`` of the rows that are on it. Those without a score are on none."""
    for alike in by_model_and_task(rows).values():
        for row in front_of([row for row in alike if row.score_after is not None]):
            row.front = True


def front_of(rows: Sequence[StudyRow]) -> list[StudyRow]:
    """Those of ``rows``, all scored, that no other is as fast and as good as, and in one of both more."""
    found: list[StudyRow] = []
    size = size_of(rows)
    best = best_size = None
    # Fastest first, of the equally fast the best: what has gone by is as fast, so only a better score is on the front.
    for row in sorted(rows, key=lambda row: (size(row), -_score(row))):
        equal = best == _score(row) and best_size == size(row)
        if best is None or _score(row) > best or equal:
            found.append(row)
            best, best_size = _score(row), size(row)
    return found


def size_of(rows: Iterable[StudyRow]) -> Callable[[StudyRow], float]:
    """What rows are compared by: the latency, where all of them were timed, on one device; else the parameters."""
    compared = list(rows)
    timed = all(row.latency_ms is not None for row in compared) and len({row.device for row in compared}) == 1
    return _latency if timed else _parameters


def by_model_and_task(rows: Iterable[StudyRow]) -> dict[tuple[str, str], list[StudyRow]]:
    """In the order in which they first appear."""
    found: dict[tuple[str, str], list[StudyRow]] = {}
    for row in rows:
        found.setdefault((row.model, row.task), []).append(row)
    return found


def _score(row: StudyRow) -> float:
    return row.score_after.mean if row.score_after else float("-inf")


def _latency(row: StudyRow) -> float:
    return row.latency_ms.mean if row.latency_ms else float("inf")


def _parameters(row: StudyRow) -> float:
    return row.parameters_after if row.parameters_after is not None else float("inf")
