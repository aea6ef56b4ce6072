"""In which order the cells of a study are queued."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest

from api_schemas.studies.grid import Coordinates


def submission_order(cells: Sequence[Coordinates]) -> list[int]:
    """Places in ``cells``: first one cell of each baseline, then the others, one of each baseline in turn.

    So that workers train baselines beside one another, and cells that need one come up when it is there: whoever takes
    a cell whose baseline is being trained would wait for it. The strategy and the drop are of the pruned model alone.
    """
    by_baseline: dict[tuple[int, ...], list[int]] = {}
    for at, cell in enumerate(cells):
        baseline = (cell.model, cell.task, cell.recovery, cell.effort, cell.seed)
        by_baseline.setdefault(baseline, []).append(at)
    return [at for at in chain.from_iterable(zip_longest(*by_baseline.values())) if at is not None]
