"""How far a study is, and how long it will be, by the cells that stand alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api_schemas.studies.request import Budget
from api_schemas.studies.shown import CellState, StudyProgress, StudyStatus
from service.studies.reading import progress_of
from store.study_rows import StudyRows, Tally

BEGAN = datetime(2026, 12, 1, 10, tzinfo=UTC)


def tally(state: CellState, cells: int, *, each: float | None = None, **changed: Any) -> Tally:
    """``each``: seconds that one took."""
    timed = cells if each is not None else 0
    facts = {"known": False, "fractions": 0.0, "timed": timed, "seconds": timed * (each or 0.0), "gpu_seconds": 0.0}
    return Tally(**{"state": state, "cells": cells, **facts, **changed})


def progress(*tallies: Tally, workers: int = 1, stopped_at: datetime | None = None) -> StudyProgress:
    rows = StudyRows(
        id="study_1", tenant="default", name=None, status=StudyStatus.RUNNING, status_reason=None, created_at=BEGAN,
        stopped_at=stopped_at, began_at=BEGAN, now=BEGAN + timedelta(minutes=10), request={}, grids=[], budget=Budget(),
        begun=0, cells=[], tallies=list(tallies),
    )  # fmt: skip
    return progress_of(rows, workers)


def test_nobody_can_tell_before_a_cell_has_ended() -> None:
    assert progress(tally(CellState.RUNNING, 1, fractions=0.5), tally(CellState.WAITING, 3)).eta_seconds is None


@pytest.mark.parametrize(
    ("workers", "seconds"), [(1, 750.0), (2, 375.0), (100, 750 / 8)], ids=["one", "two", "more than cells"]
)
def test_what_is_left_takes_as_long_as_what_ended_and_workers_share_it(workers: int, seconds: float) -> None:
    tallies = [
        tally(CellState.SUCCEEDED, 2, each=100.0),
        tally(CellState.RUNNING, 1, fractions=0.5),
        tally(CellState.QUEUED, 7),
    ]
    found = progress(*tallies, workers=workers)
    assert found.eta_seconds == pytest.approx(seconds)
    assert found.fraction == pytest.approx(2.5 / 10)


def test_what_runs_already_counts_though_its_worker_is_not_seen() -> None:
    tallies = [tally(CellState.SUCCEEDED, 1, each=10.0), tally(CellState.RUNNING, 4)]
    assert progress(*tallies, workers=0).eta_seconds == pytest.approx(10.0)


def test_cells_that_were_known_took_no_time_and_say_nothing_of_the_rest() -> None:
    known = tally(CellState.SUCCEEDED, 5, each=1000.0, known=True)
    found = progress(known, tally(CellState.SUCCEEDED, 1, each=10.0), tally(CellState.QUEUED, 2))
    assert (found.eta_seconds, found.known) == (pytest.approx(20.0), 5)


def test_a_study_that_has_ended_has_nothing_left_and_its_minutes_stand_still() -> None:
    found = progress(tally(CellState.SUCCEEDED, 3, each=60.0), stopped_at=BEGAN + timedelta(minutes=4))
    assert (found.fraction, found.eta_seconds, found.minutes) == (1.0, 0.0, 4.0)


def test_gpu_hours_are_of_all_that_was_tried() -> None:
    failed = tally(CellState.FAILED, 1, gpu_seconds=1800.0)
    assert progress(failed, tally(CellState.RUNNING, 1, gpu_seconds=5400.0)).gpu_hours == pytest.approx(2.0)
