"""Bodies of calls about studies, and what they ask for: in a thread that may look at models and data."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from api_schemas.errors import LayercutError
from api_schemas.recovery import RecoverySpec
from api_schemas.requests import ModelRef
from api_schemas.studies.request import Budget, Grid, MoreCells, ResumeStudy, StudyJob, StudyRequest
from api_schemas.studies.shown import StudyPreview
from api_schemas.task_spec import TaskSpec
from service.bodies import validated
from service.callers import Caller
from service.state import GatewayState
from service.studies.admitting import Admitter
from service.studies.grids import pins_of
from service.studies.planning import check_possible, plan_grid
from service.studies.preview import preview_of
from store.study_rows import NewStudy

Asked = TypeVar("Asked", bound=Grid)

_LISTS: dict[str, tuple[str, type[BaseModel]]] = {
    "/task": ("tasks", TaskSpec),
    "/model": ("models", ModelRef),
    "/recovery": ("recoveries", RecoverySpec),
}


def new_study(body: dict[str, Any], state: GatewayState, who: Caller) -> NewStudy:
    """Raises ``study_too_large``, ``cells_impossible``, and what a job is refused with for what all have alike."""
    asked = _read(StudyRequest, body)
    with Admitter(state, who.actor) as admitter:
        planned = plan_grid(asked, asked.job, state, admitter, who, stop_early=asked.stop_early)
        check_possible(planned, skip=asked.impossible == "skip")
    return planned.as_new(0, asked.name, body, asked.budget)


def preview(body: dict[str, Any], state: GatewayState, who: Caller) -> StudyPreview:
    asked = _read(StudyRequest, body)
    with Admitter(state, who.actor) as admitter:
        planned = plan_grid(asked, asked.job, state, admitter, who, stop_early=asked.stop_early)
        return preview_of(planned, state)


def more_cells(study_id: str, body: dict[str, Any], state: GatewayState, who: Caller) -> NewStudy:
    """What is to be added, under what the study's jobs have alike. Raises as ``new_study``."""
    asked = _read(MoreCells, body)
    rows = state.studies.of(who.actor).get(study_id)
    request = rows.request
    with Admitter(state, who.actor) as admitter:
        alike = StudyJob.model_validate(request.get("job") or {})
        early, pins = bool(request.get("stop_early")), pins_of(rows.grids)
        planned = plan_grid(asked, alike, state, admitter, who, stop_early=early, pins=pins)
        check_possible(planned, skip=request.get("impossible") == "skip")
    return planned.as_new(len(rows.grids), rows.name, body, Budget())


def _read(model: type[Asked], body: dict[str, Any]) -> Asked:
    try:
        return validated(model, body)
    except LayercutError as error:
        raise _placed(error, body) from None


def _placed(error: LayercutError, body: dict[str, Any]) -> LayercutError:
    """A value that refuses itself names the field that it is of a job: here it stands in a list."""
    for field, (name, kind) in _LISTS.items():
        found, values = (error.param or "").removeprefix(field), body.get(name)
        if found == error.param or found[:1] not in ("", "/"):
            continue
        for at, value in enumerate(values if isinstance(values, list) else [values]):
            try:
                kind.model_validate(value)
            except LayercutError as own:
                return LayercutError(own.code, own.message, param=f"/{name}/{at}{found}")
            except ValidationError:
                continue
    return error


def resume(body: dict[str, Any]) -> ResumeStudy:
    return validated(ResumeStudy, body)
