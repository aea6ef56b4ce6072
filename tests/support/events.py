"""Events and jobs as tests write them: with plain values."""

from __future__ import annotations

from typing import Any

from api_schemas.events import NEW_EVENT, EventType, NewEvent
from api_schemas.jobs import Job
from api_schemas.requests import JobRequest
from api_schemas.resolved import resolve
from store.jobs import JobStore


def say(type: EventType, message: str = "", **data: Any) -> NewEvent:
    return NEW_EVENT.validate_python({"type": type, "message": message or type.value, "data": data})


def queue(store: JobStore, sent: dict[str, Any]) -> Job:
    """A job whose model could not be looked at when it was accepted."""
    request = JobRequest.model_validate(sent)
    return store.create(request, sent, resolve(request, None))
