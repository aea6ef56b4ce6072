"""Of each model and task the fastest that keeps enough, with the reason."""

from __future__ import annotations

from typing import Any

from api_schemas.studies.pick import picks_of
from api_schemas.studies.shown import CellState, Pick, ShownInterval, StudyCell, StudyRow
from tests.support.study_cells import row


def only(rows: list[StudyRow], least: float, *, sure: bool = False) -> Pick:
    (pick,) = picks_of(rows, least, sure=sure)
    return pick


def kept(retention: float, low: float | None = None, **facts: Any) -> StudyRow:
    interval = None if low is None else ShownInterval(low=low, high=1.0, confidence=0.95)
    return row(90 * retention, retention=retention, retention_interval=interval, **facts)


ROWS = [
    kept(0.999, 0.98, job="job_slow", latency=9, parameters_after=90),
    kept(0.985, 0.95, job="job_fast", latency=5, parameters_after=60),
    kept(0.961, 0.93, job="job_bad", latency=3, parameters_after=40),
]


def test_the_fastest_that_keeps_enough_is_picked() -> None:
    pick = only(ROWS, 0.98)
    assert (pick.job_id, pick.download) == ("job_fast", None)
    assert pick.reason == "the fastest of 2 rows that keep 98 % of the score on average: it keeps 98.5 %"


def test_to_be_sure_the_interval_must_keep_it() -> None:
    pick = only(ROWS, 0.98, sure=True)
    assert pick.job_id == "job_slow"
    assert pick.reason == "the only row that keeps 98 % of the score by the low end of its interval: it keeps 98.0 %"


def test_what_was_not_timed_is_picked_by_size_then_by_what_it_keeps() -> None:
    rows = [
        kept(0.99, job="job_large", parameters_after=90),
        kept(0.98, job="job_small", parameters_after=60),
        kept(0.985, job="job_better", parameters_after=60),
    ]
    pick = only(rows, 0.98)
    assert pick.job_id == "job_better"
    assert pick.reason.startswith("the smallest of 3 rows")


def test_where_none_keeps_enough_the_best_is_told() -> None:
    pick = only(ROWS[2:], 0.98)
    assert (pick.job_id, pick.row) == (None, None)
    assert pick.reason == "no row keeps 98 % of the score on average: the best keeps 96.1 %"


def test_where_there_is_no_score_that_is_the_reason() -> None:
    waiting = StudyCell(number=0, seed=1, state=CellState.WAITING)
    assert only([row(None, cells=[waiting])], 0.98).reason == "no row has a score to compare yet"
    assert only([row(None)], 0.98).reason == "no row has a score to compare"
    assert only([kept(0.99)], 0.98, sure=True).reason == "no row has an interval"


def test_each_model_and_task_has_a_pick() -> None:
    rows = [kept(0.99, task="a"), kept(0.9, task="b"), kept(0.99, task="a", model="other")]
    found = [(pick.model, pick.task, pick.job_id) for pick in picks_of(rows, 0.98, sure=False)]
    assert found == [("m", "a", "job_1"), ("m", "b", None), ("other", "a", "job_1")]


def test_it_is_the_job_of_the_first_seed_that_succeeded() -> None:
    cells = [
        StudyCell(number=0, seed=1, state=CellState.FAILED, job_id="job_failed"),
        StudyCell(number=1, seed=2, state=CellState.SUCCEEDED, job_id="job_done", has_files=True),
    ]
    assert only([kept(0.99, cells=cells)], 0.98).job_id == "job_done"


def seeds(*retentions: float, has_files: bool = True) -> list[StudyCell]:
    return [
        StudyCell(number=at, seed=at, state=CellState.SUCCEEDED, job_id=f"job_{at}", has_files=has_files, retention=one)
        for at, one in enumerate(retentions)
    ]


def test_the_job_keeps_enough_by_itself_and_is_nearest_to_the_mean() -> None:
    found = only([kept(0.985, cells=seeds(0.95, 1.02, 0.986))], 0.98)
    assert (found.job_id, "seed 2" in found.reason) == ("job_2", True)
    none = only([kept(0.985, cells=seeds(0.95, 0.97))], 0.98)
    assert none.job_id == "job_1"
    assert "none does by itself: the best, seed 1, keeps 97.0 %" in none.reason


def test_a_row_without_files_is_not_taken() -> None:
    found = only([kept(0.99, cells=seeds(0.99, has_files=False))], 0.98)
    assert found.job_id is None
    assert "no files any more" in found.reason
