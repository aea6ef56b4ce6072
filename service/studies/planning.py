"""From a grid to cells: which can be, which are known, in which order they run, and which decide about others."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from api_schemas.errors import FieldError, LayercutError
from api_schemas.requests import ModelRef
from api_schemas.strategies import STRATEGIES
from api_schemas.studies.grid import Coordinates, cells_of, count_cells
from api_schemas.studies.order import submission_order
from api_schemas.studies.request import Budget, Grid, StudyJob
from api_schemas.studies.shown import CellState, ImpossibleCell
from service.asking import check_delivery
from service.callers import Caller
from service.state import GatewayState
from service.studies.admitting import Admitted, Admitter
from service.studies.grids import PILOT, StoredGrid, key_of
from store.study_rows import NewCell, NewStudy

#: Cells that are named in a refusal, and in a preview.
TOLD, SHOWN = 20, 100
#: Cells of one reason that a refusal lists.
LISTED = 5

SEARCH = "auto"

_EFFORT = r"/recovery/effort\b"

#: What to blame in the study, by the beginning of what is to blame in a cell's body: a list, by the cell's place in it.
_BLAMED: tuple[tuple[str, str, str], ...] = (
    (r"/prune/(drop|drop_ratio)\b", "drops", "drop"),
    (r"/prune/(calibration|protect_layers)\b", "", ""),
    (r"/prune\b", "strategies", "strategy"),
    (r"/model\b", "models", "model"),
    (r"/task\b", "tasks", "task"),
    (_EFFORT, "efforts", "effort"),
    (r"/recovery\b", "recoveries", "recovery"),
    (r"/seed\b", "seeds", "seed"),
)


class CellsImpossible(LayercutError):
    """Names the cells that cannot be, and of each reason what is to blame."""

    def __init__(self, message: str, errors: list[FieldError]) -> None:
        super().__init__("cells_impossible", message)
        self.errors = errors


class Cell(NamedTuple):
    """One of a grid: either it was admitted, or there is a reason why it cannot be."""

    at: Coordinates
    strategy: str
    key: str
    admitted: Admitted | None
    error: LayercutError | None


@dataclass(frozen=True)
class PlannedStudy:
    """A grid that was looked at. ``pilots``: by the key of a cell, that of the one that decides whether it runs."""

    stored: StoredGrid
    cells: list[Cell]
    pilots: dict[str, str]
    known: dict[str, str]

    @property
    def impossible(self) -> list[ImpossibleCell]:
        return [
            ImpossibleCell(number=at, cell=_in_words(self.stored.grid, cell), reason=cell.error.message)
            for at, cell in enumerate(self.cells)
            if cell.error is not None
        ]

    def job_of(self, cell: Cell) -> str | None:
        """The earlier job that has done it."""
        return _job_of(cell, self.known)

    def as_new(self, grid: int, name: str | None, request: dict[str, Any], budget: Budget) -> NewStudy:
        """To be stored; ``grid`` counts the grids of the study."""
        cells = [self._new_cell(cell, grid) for cell in self.cells]
        order = submission_order([cell.at for cell in self.cells])
        return NewStudy(name, request, self.stored.written(), budget, cells, order)

    def _new_cell(self, cell: Cell, grid: int) -> NewCell:
        new = NewCell(cell.key, (grid, *cell.at), cell.strategy)
        if cell.admitted is None:
            assert cell.error is not None
            return replace(new, state=CellState.IMPOSSIBLE, reason=cell.error.message)
        plan, job = cell.admitted.resolved.plan, self.job_of(cell)
        return replace(
            new,
            fingerprint=cell.admitted.fingerprint,
            content=cell.admitted.content,
            job_id=job,
            pilot=None if job else self.pilots.get(cell.key),
            layers_total=None if plan is None else plan.model.layers,
            dropped=None if plan is None else plan.dropped,
        )


def check_alike(alike: StudyJob, state: GatewayState, who: Caller) -> None:
    """What all jobs have alike, as of one. Raises ``forbidden``, ``push_not_allowed``, ``format_unavailable``."""
    who.check_priority(alike.priority)
    check_delivery(alike.export, state)


def plan_grid(
    grid: Grid,
    alike: StudyJob,
    state: GatewayState,
    admitter: Admitter,
    who: Caller,
    *,
    stop_early: bool,
    pins: Mapping[str, ModelRef] | None = None,
) -> PlannedStudy:
    """Look at every cell. ``pins``: models as they were pinned before, by how they are asked for. Raises
    ``study_too_large``, and what passes, such as ``hub_unavailable``.
    """
    count_cells(grid, state.settings.max_study_cells)
    check_alike(alike, state, who)
    pinning = _Pinning(StoredGrid(grid, alike, tuple(grid.models)), admitter, pins or {})
    cells = [pinning.cell(at, str(grid.strategies[at.strategy])) for at in cells_of(grid)]
    known = _known(cells, state, who)
    pilots = _pilots(cells, pinning.cell, known) if stop_early else ([], {})
    known |= _known(pilots[0], state, who)
    cells += pilots[0]
    if len(cells) > state.settings.max_study_cells:
        most = state.settings.max_study_cells
        text = (
            f"with {len(pilots[0])} searches for `stop_early` these are {len(cells)} cells, and a study may have {most}"
        )
        raise LayercutError("study_too_large", text, param="/stop_early", details={"cells": len(cells), "most": most})
    return PlannedStudy(replace(pinning.stored, models=tuple(pinning.models)), cells, pilots[1], known)


def _known(cells: Sequence[Cell], state: GatewayState, who: Caller) -> dict[str, str]:
    found = (cell.admitted.fingerprint for cell in cells if cell.admitted)
    return state.studies.of(who.actor).known({fingerprint for fingerprint in found if fingerprint})


def _job_of(cell: Cell, known: Mapping[str, str]) -> str | None:
    found = cell.admitted and cell.admitted.fingerprint
    return known.get(found) if found else None


class _Pinning:
    """Each model is looked at once, and all that comes after is of what it was then."""

    def __init__(self, stored: StoredGrid, admitter: Admitter, pins: Mapping[str, ModelRef]) -> None:
        self.stored, self._admitter = stored, admitter
        self.models = [pins.get(model.model_dump_json(), model) for model in stored.grid.models]

    def cell(self, at: Coordinates, strategy: str) -> Cell:
        body = self.stored.body(at, strategy)
        key = key_of(body)
        model = self.models[at.model].model_dump(mode="json", exclude_unset=True)
        try:
            admitted = self._admitter.admit({**body, "model": model})
        except LayercutError as error:
            if error.kind.retryable:
                raise blamed(error, at, self.stored.grid) from None
            return Cell(at, strategy, key, None, blamed(error, at, self.stored.grid))
        self.models[at.model] = admitted.resolved.model
        return Cell(at, strategy, key, admitted, None)


def blamed(error: LayercutError, at: Coordinates, grid: Grid) -> LayercutError:
    """``error`` with the field of the study to blame."""
    param = error.param or ""
    if re.match(_EFFORT, param) and grid.efforts[at.effort] == "auto":  # it is the recovery's own
        return _with_param(error, f"/recoveries/{at.recovery}/effort")
    for pattern, name, place in _BLAMED:
        if re.match(pattern, param):
            found = f"/{name}/{getattr(at, place)}" if name else f"/job{param.removeprefix('/prune')}"
            return _with_param(error, found)
    return _with_param(error, f"/job{param}" if param else None)


def _with_param(error: LayercutError, param: str | None) -> LayercutError:
    """The same, with all else that it tells, such as when to ask again."""
    found = LayercutError(error.code, error.message, param=param, details=error.details)
    found.__dict__.update({name: value for name, value in vars(error).items() if name != "param"})
    return found


def check_possible(planned: PlannedStudy, *, skip: bool) -> None:
    """Raise ``cells_impossible`` for cells that cannot be, unless they are skipped and others can."""
    wrong = [(at, cell) for at, cell in enumerate(planned.cells) if cell.error is not None]
    if not wrong or (skip and len(wrong) < len(planned.cells)):
        return
    reasons: dict[tuple[str, str], list[int]] = {}
    codes: dict[tuple[str, str], str] = {}
    for at, cell in wrong:
        assert cell.error is not None
        reason = (cell.error.param or "", cell.error.message)
        reasons.setdefault(reason, []).append(at)
        codes[reason] = cell.error.code
    errors = [
        FieldError(pointer=reason[0], message=f"{_numbers(found)}: {reason[1]}", code=codes[reason])
        for reason, found in list(reasons.items())[:TOLD]
    ]
    named = "; ".join(f"{at}: {_in_words(planned.stored.grid, cell)}" for at, cell in wrong[:TOLD])
    more = f"; and {len(wrong) - TOLD} more" if len(wrong) > TOLD else ""
    all_of = "none of its cells can be" if len(wrong) == len(planned.cells) else "`impossible: skip` leaves them out"
    text = f"{len(wrong)} of {len(planned.cells)} cells cannot be ({named}{more}): {errors[0].message}. {all_of}"
    raise CellsImpossible(text, errors)


def _numbers(cells: Sequence[int]) -> str:
    named = ", ".join(map(str, cells[:LISTED]))
    more = f" and {len(cells) - LISTED} more" if len(cells) > LISTED else ""
    return f"cell{'s' if len(cells) > 1 else ''} {named}{more}"


def _in_words(grid: Grid, cell: Cell) -> str:
    at = cell.at
    parts = [
        grid.models[at.model].id, grid.tasks[at.task].label, grid.recoveries[at.recovery].method,
        str(grid.efforts[at.effort]), f"{cell.strategy} {grid.drops[at.drop]:g}", f"seed {grid.seeds[at.seed]}",
    ]  # fmt: skip
    return " × ".join(parts)


def _pilots(
    cells: list[Cell], make: Callable[[Coordinates, str], Cell], known: Mapping[str, str]
) -> tuple[list[Cell], dict[str, str]]:
    """Cells that let the strategies of a size compete, where they are not asked for already, and who waits for them."""
    groups: dict[tuple[int, ...], list[Cell]] = {}
    for cell in cells:
        if cell.admitted is not None and cell.admitted.resolved.trains:
            at = cell.at
            groups.setdefault((at.model, at.task, at.recovery, at.effort, at.drop, at.seed), []).append(cell)
    added: list[Cell] = []
    waits: dict[str, str] = {}
    for alike in groups.values():
        others = [cell for cell in alike if cell.strategy != SEARCH and not STRATEGIES[cell.strategy].drops_nothing]
        if len(others) < 2 or all(_job_of(cell, known) for cell in others):
            continue
        pilot = next((cell for cell in alike if cell.strategy == SEARCH), None)
        if pilot is None:
            pilot = make(alike[0].at._replace(strategy=PILOT), SEARCH)
            if pilot.admitted is None:  # what cannot compete runs in full
                continue
            added.append(pilot)
        waits |= dict.fromkeys((cell.key for cell in others), pilot.key)
    return added, waits
