"""What this service takes at most, by its settings: one table, checked at admission and shown by ``GET /v1/limits``.

The schema's own bounds say what makes sense anywhere. These say what the one who runs the service gives away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from api_schemas.architectures import ModelFacts
from api_schemas.ceilings import CeilingInfo
from api_schemas.errors import LayercutError
from api_schemas.recovery import epochs_of
from api_schemas.requests import JobRequest, PlanRequest
from service.settings import GatewaySettings
from service.state import GatewayState

Asked = TypeVar("Asked", JobRequest, PlanRequest)

#: The value that is asked for in each field, where one is.
Values = Iterator[tuple[str, float | None]]


def _rows(request: JobRequest | PlanRequest) -> Values:
    yield "/task/max_train_rows", request.task.max_train_rows
    text = request.recovery.text
    yield "/recovery/text/rows", text.rows if text else None


def _epochs(request: JobRequest | PlanRequest) -> Values:
    """Those that are given, and those that are trained because none are."""
    spec, kind = request.recovery, request.task.task_kind
    trained = {"epochs": request.trains, "baseline_epochs": request.trains and kind and kind.teacher == "trained"}
    for field, epochs in epochs_of(spec, kind).items():
        by_word = field == "epochs" and spec.epochs == "auto" and spec.effort != "auto"
        if trained[field] or getattr(spec, field) != "auto":
            yield "/recovery/effort" if by_word else f"/recovery/{field}", epochs


def _seeds(request: JobRequest | PlanRequest) -> Values:
    if isinstance(request, JobRequest):
        yield "/evaluation/seeds", len(request.seeds)


def _latency(request: JobRequest | PlanRequest) -> Values:
    if isinstance(request, JobRequest):
        asked = request.evaluation.latency
        largest = max(asked.batch_sizes, default=0) * max(asked.sequence_lengths, default=0)
        yield "/evaluation/latency", largest
    goal = request.prune.objective
    if goal is not None and goal.cell is not None:
        yield "/prune/objective", goal.cell[0] * goal.cell[1]


def _limit(name: str) -> Callable[[JobRequest | PlanRequest], Values]:
    def asked(request: JobRequest | PlanRequest) -> Values:
        if isinstance(request, JobRequest):
            yield f"/limits/{name}", getattr(request.limits, name)

    return asked


@dataclass(frozen=True)
class Ceiling:
    """``asked`` gives what a request asks for; None where it is not a request's field that is bounded."""

    setting: str
    unit: str
    summary: str
    fields: tuple[str, ...] = ()
    asked: Callable[[JobRequest | PlanRequest], Values] | None = None
    code: str = "ceiling_passed"

    @property
    def variable(self) -> str:
        return f"LAYERCUT_{self.setting.upper()}"


# fmt: off
CEILINGS: tuple[Ceiling, ...] = (
    Ceiling("max_rows", "rows", "rows to train on, asked for or found in the data",
            ("/task/max_train_rows", "/recovery/text/rows"), _rows),
    Ceiling("table_bytes", "bytes", "a table or text of the user's own", code="dataset_invalid"),
    Ceiling("max_epochs", "epochs", "epochs of one training",
            ("/recovery/epochs", "/recovery/baseline_epochs", "/recovery/effort"), _epochs),
    Ceiling("max_seeds", "seeds", "seeds to train and score with", ("/evaluation/seeds",), _seeds),
    Ceiling("max_latency_tokens", "tokens", "batch size times sequence length of one measurement of speed",
            ("/evaluation/latency", "/prune/objective"), _latency),
    Ceiling("max_runtime_seconds", "seconds", "how long a job may run",
            ("/limits/max_runtime_seconds",), _limit("max_runtime_seconds")),
    Ceiling("max_queue_seconds", "seconds", "how long a job may wait",
            ("/limits/max_queue_seconds",), _limit("max_queue_seconds")),
    Ceiling("max_layers", "layers", "layers of a model", ("/model",)),
    Ceiling("max_model_bytes", "bytes", "weights of a model, all files together", ("/model",)),
    Ceiling("max_queued_jobs", "jobs", "jobs that wait, all together", code="queue_full"),
    Ceiling("max_study_cells", "cells", "cells of one study", code="study_too_large"),
    Ceiling("max_body_bytes", "bytes", "a JSON body", code="payload_too_large"),
    Ceiling("upload_bytes", "bytes", "an upload, all its files together", code="payload_too_large"),
    Ceiling("max_header_bytes", "bytes", "the head of a request", code="headers_too_large"),
    Ceiling("max_headers", "headers", "headers of a request", code="headers_too_large"),
)
# fmt: on


def ceilings_of(settings: GatewaySettings) -> list[CeilingInfo]:
    return [
        CeilingInfo(
            name=row.setting.removeprefix("max_"),
            value=getattr(settings, row.setting),
            unit=row.unit,
            setting=row.variable,
            fields=list(row.fields),
            code=row.code,
            summary=row.summary,
        )
        for row in CEILINGS
    ]


def under_ceilings(request: JobRequest, settings: GatewaySettings) -> JobRequest:
    """``request`` with the limits that it left out brought under the service's; the worker holds to the runtime too."""
    defaults = {
        name: min(getattr(request.limits, name), getattr(settings, name))
        for name in ("max_runtime_seconds", "max_queue_seconds")
        if name not in request.limits.model_fields_set
    }
    return request.model_copy(update={"limits": request.limits.model_copy(update=defaults)})


def check_request(request: JobRequest | PlanRequest, settings: GatewaySettings) -> None:
    """Raise ``ceiling_passed`` for the first field that asks for more than there is."""
    for row in CEILINGS:
        for pointer, value in row.asked(request) if row.asked else ():
            if value is not None and value > getattr(settings, row.setting):
                raise _passed(row, settings, pointer, value)


def check_model(model: ModelFacts | None, settings: GatewaySettings) -> None:
    """Raise ``ceiling_passed`` for a model with more layers than are taken."""
    if model is not None and model.layers > settings.max_layers:
        row = next(row for row in CEILINGS if row.setting == "max_layers")
        raise _passed(row, settings, "/model", model.layers)


def check_queue(state: GatewayState) -> None:
    """Raise ``queue_full`` where no more jobs may wait."""
    most = state.settings.max_queued_jobs
    if state.store.queued(most) >= most:
        raise LayercutError(
            "queue_full", f"{most} jobs wait already, the most that LAYERCUT_MAX_QUEUED_JOBS allows; try again later"
        )


def _passed(row: Ceiling, settings: GatewaySettings, pointer: str, value: float) -> LayercutError:
    most = getattr(settings, row.setting)
    return LayercutError(
        "ceiling_passed",
        f"{value:g} {row.unit} are more than the {most:g} that {row.variable} allows ({row.summary})",
        param=pointer,
    )
