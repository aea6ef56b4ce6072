"""What a study would be: counted, and worked out on one cell of each kind."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator

from api_schemas.estimates import Estimate
from api_schemas.resolved import ResolvedRequest
from api_schemas.studies.shown import StudyPreview
from service.estimates import expected_of_job
from service.state import GatewayState
from service.studies.admitting import Admitted
from service.studies.planning import SHOWN, Cell, PlannedStudy
from sources.fingerprint import NOT_OF_BASELINE
from store.workers import LIVING_SECONDS

#: Kinds of cells that are worked out; each looks at data.
MOST_SAMPLES = 50


def preview_of(planned: PlannedStudy, state: GatewayState) -> StudyPreview:
    """Of a study of which nothing is stored. Its data must still be held by whoever planned it."""
    impossible = planned.impossible
    to_run = [cell for cell in planned.cells if cell.admitted is not None and planned.job_of(cell) is None]
    baselines = {found for cell in to_run if cell.admitted and (found := _baseline(cell.admitted.resolved))}
    return StudyPreview(
        cells=len(planned.cells),
        known=len(planned.cells) - len(impossible) - len(to_run),
        impossible=impossible[:SHOWN],
        impossible_count=len(impossible),
        minutes=_minutes(to_run, state),
        baselines=len(baselines),
    )


def _baseline(resolved: ResolvedRequest) -> str | None:
    """What tells one full model that is trained from another; None where none is."""
    kind, recovery = resolved.task.task_kind, resolved.recovery
    wanted = resolved.evaluation.baseline or (recovery is not None and recovery.method == "distill")
    if recovery is None or kind is None or kind.teacher != "trained" or not (resolved.trains and wanted):
        return None
    trained = recovery.of_baseline().model_dump(mode="json", exclude=set(NOT_OF_BASELINE))
    parts = (resolved.model.model_dump_json(), resolved.task.model_dump_json(), trained, resolved.seed)
    return json.dumps(parts, sort_keys=True)


def _minutes(to_run: list[Cell], state: GatewayState) -> float | None:
    """One after another; each baseline is trained once, by the first that needs it."""
    kinds: dict[tuple[int, ...], list[Admitted]] = defaultdict(list)
    for cell in to_run:
        assert cell.admitted is not None
        at = cell.at
        kinds[at.model, at.task, at.recovery, at.effort, at.drop].append(cell.admitted)
    if len(kinds) > MOST_SAMPLES:
        by_drop: dict[tuple[int, ...], list[Admitted]] = defaultdict(list)
        for kind, cells in kinds.items():
            by_drop[kind[:-1]] += cells
        kinds = by_drop
    if not to_run:
        return 0.0
    if len(kinds) > MOST_SAMPLES:
        return None
    workers, total = state.workers.list(LIVING_SECONDS, None), 0.0
    for cells in kinds.values():
        sample = cells[len(cells) // 2]
        found, _ = expected_of_job(sample.resolved, workers, sample.seen.looked.settings)
        if found is None:
            return None
        total += sum(_each(found, cells))
    return total


def _each(found: Estimate, cells: list[Admitted]) -> Iterator[float]:
    trained: set[str | None] = set()
    for cell in cells:
        baseline = _baseline(cell.resolved)
        again = baseline in trained and found.minutes_with_baseline is not None
        trained.add(baseline)
        yield found.minutes_with_baseline if again and found.minutes_with_baseline is not None else found.minutes
