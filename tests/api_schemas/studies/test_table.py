"""A row is all seeds of one combination: mean, spread, interval and verdict, and what to know of them."""

from __future__ import annotations

import pytest

from api_schemas.recovery import RecoverySpec
from api_schemas.studies.shown import CellState, StudyRow
from api_schemas.studies.table import CellFacts, recovery_labels, table_of, warnings_of
from tests.support.study_cells import cell, result


def only(*cells: CellFacts) -> StudyRow:
    (row,) = table_of(cells)
    return row


def test_rows_come_as_their_first_cells_do_and_cells_by_seed() -> None:
    rows = table_of(
        [cell(number=0, task="rte", seed=7), cell(number=1, task="mrpc", seed=7), cell(number=2, task="rte", seed=1)]
    )
    assert [(row.task, [each.seed for each in row.cells]) for row in rows] == [("rte", [1, 7]), ("mrpc", [7])]


def test_all_lists_but_the_seeds_make_rows() -> None:
    changes = [{"model": "x"}, {"task": "x"}, {"strategy": "bottom"}, {"drop": 4}, {"recovery": "none"}]
    changes.append({"effort": "quick"})
    assert len(table_of([cell(), cell(seed=2), *(cell(**change) for change in changes)])) == 7


def test_means_and_deviations_are_over_the_seeds_that_have_ended() -> None:
    row = only(
        cell(result(90.0, 88.0), seed=1),
        cell(result(92.0, 89.0), seed=2),
        cell(seed=3, state=CellState.FAILED, reason="out of memory"),
    )
    assert row.score_after is not None
    assert row.score_before is not None
    assert row.retention is not None
    assert (row.score_before.mean, row.score_before.std) == (91.0, pytest.approx(2**0.5))
    assert (row.score_after.mean, row.score_after.count) == (88.5, 2)
    assert row.retention.mean == pytest.approx((88 / 90 + 89 / 92) / 2)
    assert row.retention_interval is not None
    assert row.retention_interval.low < row.retention.mean < row.retention_interval.high
    assert [each.reason for each in row.cells] == [None, None, "out of memory"]


def test_a_cell_alone_keeps_the_verdict_of_its_job() -> None:
    found = result(verdict="kept: as the job says", outcome="kept")
    row = only(cell(found, seed=1), cell(seed=2))
    assert (row.outcome, row.verdict) == ("kept", "kept: as the job says")
    assert row.retention_interval is not None
    assert found.retention_interval is not None
    assert row.retention_interval.low == found.retention_interval.low


def test_several_cells_are_judged_by_their_margin() -> None:
    def judged(margin: float) -> str | None:
        return only(*(cell(result(90, 88.2, reach=0.005), seed=seed, margin=margin) for seed in (1, 2))).outcome

    assert judged(0.05) == "kept"
    assert judged(0.02) == "undecided"
    assert judged(0.01) == "lost"


@pytest.mark.parametrize(
    "cells",
    [
        [cell(), cell(seed=2)],
        [cell(result(None, None, latency_ms_after=None, speedup=None))],
        [cell(state=CellState.IMPOSSIBLE, reason="8 of 6 layers")],
    ],
)
def test_where_nothing_was_scored_nothing_is_said(cells: list[CellFacts]) -> None:
    row = only(*cells)
    judged = (row.score_before, row.score_after, row.retention, row.retention_interval, row.outcome, row.verdict)
    assert judged == (None,) * 6
    assert not row.front


def test_a_seed_without_an_interval_leaves_the_row_undecided() -> None:
    row = only(cell(result(), seed=1), cell(result(reach=None), seed=2))
    assert row.retention_interval is None
    assert (row.outcome, row.verdict) == ("undecided", "undecided: not every seed has an interval")


def test_layers_are_those_that_went_or_else_those_of_the_plan() -> None:
    planned = only(cell(layers_total=12, dropped=[10, 11]))
    done = only(cell(result(), seed=1), cell(seed=2, layers_total=12, dropped=[10, 11]))
    for row in (planned, done):
        assert (row.layers_total, row.layers_kept, row.dropped) == (12, 10, [10, 11])
    unlike = only(cell(result(layers_dropped=[1, 2]), seed=1), cell(result(layers_dropped=[1, 3]), seed=2))
    assert (unlike.layers_kept, unlike.dropped) == (10, None)


def test_latencies_of_several_devices_have_no_mean() -> None:
    row = only(cell(result(device="a"), seed=1), cell(result(device="b"), seed=2))
    assert row.latency_ms is None
    assert row.device is None
    same = only(cell(result(latency_ms_after=8.0), seed=1), cell(result(latency_ms_after=10.0), seed=2))
    assert same.latency_ms is not None
    assert (same.latency_ms.mean, same.device) == (9.0, "cpu")


def test_what_is_published_stands_beside_it() -> None:
    row = only(cell(result()))
    assert row.published is not None
    assert row.published.score == 62.82
    waiting = only(cell(layers_total=12, dropped=[10, 11]))
    assert waiting.published == row.published


@pytest.mark.parametrize(
    "facts",
    [
        {"own_data": True, "layers_total": 12, "dropped": [10, 11]},
        {"layers_total": 12, "dropped": [8, 9]},
        {"drop": 0.2},
        {},
    ],
)
def test_nothing_is_published_of_another_cell(facts: dict[str, object]) -> None:
    """The user's own table of the same name; `top` of layers that are not the top; layers that are not known."""
    assert only(cell(**facts)).published is None


def test_a_part_of_the_rows_is_said_beside_what_is_published() -> None:
    row = only(cell(result(), max_train_rows=500))
    assert row.published is not None
    assert row.published.note is not None
    assert row.published.note.startswith("this row has learnt from 500 rows at most")


def test_recoveries_of_one_method_are_told_apart() -> None:
    recoveries = [RecoverySpec(method="distill"), RecoverySpec(method="none"), RecoverySpec(method="distill", epochs=1)]
    assert recovery_labels(recoveries) == ["distill", "none", "distill #2"]


def test_devices_that_differ_are_warned_of() -> None:
    (text,) = warnings_of([cell(result(device=device), seed=seed) for seed, device in enumerate("aab")])
    assert text == "cells were measured on different devices (2 on a, 1 on b): latencies and speed-ups do not compare"


def test_rows_of_fewer_seeds_are_warned_of_once_they_have_ended() -> None:
    full = [cell(result(), seed=seed) for seed in (1, 2)]
    open_row = [cell(result(), seed=1, drop=4), cell(seed=2, drop=4)]
    failed = [cell(result(), seed=1, drop=4), cell(seed=2, drop=4, state=CellState.FAILED)]
    assert warnings_of([*full, *open_row]) == []
    assert [text[:42] for text in warnings_of([*full, *failed])] == ["1 of 2 rows with a score are of fewer seeds"[:42]]
    assert ["one seed" in text for text in warnings_of([cell(result())])] == [True]


def test_seeds_that_drop_other_layers_are_warned_of() -> None:
    cells = [cell(result(layers_dropped=[1, seed]), seed=seed) for seed in (2, 3)]
    assert ["other layers" in text for text in warnings_of(cells)] == [True]


def test_metrics_that_differ_are_warned_of() -> None:
    cells = [cell(result(metric=metric), seed=seed) for seed, metric in enumerate(("f1", "accuracy"))]
    assert warnings_of(cells) == ["scores of rte are of different metrics (accuracy, f1) and do not compare"]
    assert only(*cells).metric is None
