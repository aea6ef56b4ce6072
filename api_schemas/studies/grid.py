"""From a study's lists to its cells, and from a cell to the body of its job."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

from api_schemas.errors import LayercutError
from api_schemas.studies.request import Grid, StudyJob

#: The lists, in the order in which the table counts: the last turns fastest.
LISTS = ("models", "tasks", "recoveries", "efforts", "strategies", "drops", "seeds")


class Coordinates(NamedTuple):
    """A cell by its place in each of ``LISTS``."""

    model: int
    task: int
    recovery: int
    effort: int
    strategy: int
    drop: int
    seed: int


def count_cells(grid: Grid, most: int) -> int:
    """How many cells the lists make. Raises ``study_too_large`` for more than ``most``, with the list to shorten."""
    sizes = {name: len(getattr(grid, name)) for name in LISTS}
    cells = math.prod(sizes.values())
    if cells > most:
        made = " × ".join(f"{size} {name}" for name, size in sizes.items() if size > 1)
        longest = max(LISTS, key=lambda name: sizes[name])
        fits = max(1, most * sizes[longest] // cells)
        text = f"{made} are {cells} cells, and a study may have {most}: shorten {longest} to {fits}, or ask for several"
        raise LayercutError("study_too_large", text, param=f"/{longest}", details={"cells": cells, "most": most})
    return cells


def cells_of(grid: Grid) -> Iterator[Coordinates]:
    """All of them, in the order of the table."""
    return (Coordinates(*at) for at in product(*(range(len(getattr(grid, name))) for name in LISTS)))


def body_of(grid: Grid, alike: StudyJob, at: Coordinates) -> dict[str, Any]:
    """The body of the cell's job: what ``POST /v1/jobs`` takes. What is not given is left out, and so default."""
    drop = grid.drops[at.drop]
    prune: dict[str, Any] = {"strategy": grid.strategies[at.strategy]}
    prune["drop" if isinstance(drop, int) else "drop_ratio"] = drop
    given = alike.model_dump(mode="json", exclude_unset=True)
    prune |= {name: given.pop(name) for name in ("calibration", "protect_layers") if name in given}
    recovery = grid.recoveries[at.recovery].model_dump(mode="json", exclude_unset=True)
    effort = grid.efforts[at.effort]
    if effort != "auto":
        recovery["effort"] = effort
    return {
        "model": grid.models[at.model].model_dump(mode="json", exclude_unset=True),
        "task": grid.tasks[at.task].model_dump(mode="json", exclude_unset=True),
        "prune": prune,
        **({"recovery": recovery} if recovery else {}),
        "seed": grid.seeds[at.seed],
        **given,
    }
