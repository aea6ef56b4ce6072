"""The model that layers are dropped from, where that is what an earlier job delivered and not the source itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from api_schemas.architectures import ModelFacts
from api_schemas.delivered import Start
from api_schemas.errors import LayercutError
from api_schemas.requests import JobRequest, ModelRef
from api_schemas.resolved import ResolvedRequest, check_unchanged
from sources.model_folder import opened_folder, read_facts
from workers.settings import WorkerSettings


@dataclass(frozen=True)
class StartModel:
    """Its files, and which layers of the original they are."""

    folder: Path
    facts: ModelFacts
    pinned: Start


def find_start(request: JobRequest, resolved: ResolvedRequest | None, settings: WorkerSettings) -> StartModel | None:
    """What `recovery.from` of the job names, as it was staged; None where it names nothing.

    Raises ``validation_failed`` where no service has looked that job up, and ``model_invalid`` where what was staged is
    not what was pinned.
    """
    if request.recovery.from_ is None:
        return None
    if resolved is None or resolved.start is None or settings.inputs is None:
        raise LayercutError(
            "validation_failed",
            f"{request.recovery.from_} is a job of the service: POST the request there",
            param="/recovery/from",
        )
    pinned, folder = resolved.start, settings.inputs.start
    ref = ModelRef(id=pinned.model.id)
    facts = read_facts(opened_folder(folder, ref.id, settings.inputs), ref, modules=request.keeps_modules)
    check_unchanged(pinned.model, facts, "/recovery/from")
    return StartModel(folder, facts, pinned)
