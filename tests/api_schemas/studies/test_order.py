"""No worker waits for a baseline that another trains, as far as there is other work."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from api_schemas.studies.grid import Coordinates, cells_of
from api_schemas.studies.order import submission_order
from api_schemas.studies.request import Grid

GRID = Grid(models=["m"], tasks=["rte", "mrpc"], strategies=["top", "bottom"], drops=[2, 3], seeds=[1, 2])  # type: ignore[list-item]


def baseline(cell: Coordinates) -> tuple[int, ...]:
    return (cell.model, cell.task, cell.recovery, cell.effort, cell.seed)


def test_one_of_each_baseline_goes_first_and_then_one_in_turn() -> None:
    cells = list(cells_of(GRID))
    order = [baseline(cells[at]) for at in submission_order(cells)]
    turns = [order[begin : begin + 4] for begin in range(0, len(order), 4)]
    assert len(turns) == 4
    assert all(len(set(turn)) == 4 for turn in turns)


def test_cells_of_a_baseline_keep_their_order() -> None:
    cells = list(cells_of(GRID))
    order = submission_order(cells)
    for one in set(map(baseline, cells)):
        of_one = [at for at in order if baseline(cells[at]) == one]
        assert of_one == sorted(of_one)


@settings(deadline=None)
@given(st.lists(st.builds(Coordinates, *[st.integers(0, 2)] * 7), max_size=40))
def test_each_cell_goes_once(cells: list[Coordinates]) -> None:
    order = submission_order(cells)
    assert sorted(order) == list(range(len(cells)))
    baselines = len(set(map(baseline, cells)))
    assert len({baseline(cells[at]) for at in order[:baselines]}) == baselines
