"""The front is what no other row is as fast and as good as."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from api_schemas.studies.front import mark_front
from api_schemas.studies.shown import StudyRow
from tests.support.study_cells import row

POINTS = st.lists(st.tuples(st.integers(1, 8), st.integers(80, 88)), min_size=1, max_size=30)


def at(size: int, score: int) -> StudyRow:
    return row(score, parameters_after=size)


def dominates(one: StudyRow, other: StudyRow) -> bool:
    assert one.score_after
    assert other.score_after
    mine = (-(one.parameters_after or 0), one.score_after.mean)
    yours = (-(other.parameters_after or 0), other.score_after.mean)
    return mine != yours and mine[0] >= yours[0] and mine[1] >= yours[1]


@settings(deadline=None)
@given(POINTS)
def test_it_is_the_rows_that_no_other_dominates(points: list[tuple[int, int]]) -> None:
    rows = [at(*point) for point in points]
    mark_front(rows)
    front = [row for row in rows if row.front]
    assert front
    for each in rows:
        assert each.front == (not any(dominates(other, each) for other in rows))
        assert each.front or any(dominates(other, each) for other in front)


def test_each_model_and_task_has_its_own() -> None:
    rows = [row(80, task="a", parameters_after=9), row(90, task="b", parameters_after=1)]
    mark_front(rows)
    assert all(row.front for row in rows)


def test_rows_are_compared_by_latency_where_all_were_timed() -> None:
    fast, small = row(88, latency=1, parameters_after=9), row(88, latency=2, parameters_after=1)
    mark_front([fast, small])
    assert (fast.front, small.front) == (True, False)


def test_rows_are_compared_by_size_where_one_was_not_timed_or_elsewhere() -> None:
    for changed in ({"latency": None}, {"latency": 2, "device": "another"}):
        fast, small = row(88, latency=1, parameters_after=9), row(88, **changed, parameters_after=1)
        mark_front([fast, small])
        assert (fast.front, small.front) == (False, True)


def test_a_row_without_a_score_is_on_none() -> None:
    rows = [row(None, parameters_after=1), row(80, parameters_after=9)]
    mark_front(rows)
    assert [row.front for row in rows] == [False, True]


def test_many_rows_are_not_compared_pair_by_pair() -> None:
    """All are on the front: pair by pair, these were 400 million comparisons, and the test would run out of time."""
    rows = [at(size, size) for size in range(20_000)]
    mark_front(rows)
    assert all(row.front for row in rows)
