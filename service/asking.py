"""What is checked of a job before anything is looked at, and of where it is delivered; of studies as of jobs."""

from __future__ import annotations

from api_schemas.formats import further
from api_schemas.requests import ExportSpec, JobRequest
from service.callers import Caller
from service.ceilings import under_ceilings
from service.formats import check_writable
from service.settings import GatewaySettings
from service.state import GatewayState
from sources.hub_push import check_push
from store.workers import LIVING_SECONDS


def allowed(request: JobRequest, settings: GatewaySettings, who: Caller) -> JobRequest:
    """``request`` under the service's limits; raises ``forbidden`` for a priority above those of ``who``."""
    who.check_priority(request.priority)
    return under_ceilings(request, settings)


def check_delivery(export: ExportSpec, state: GatewayState) -> None:
    """Raise ``push_not_allowed`` and ``format_unavailable``."""
    if export.push_to is not None:
        check_push(export.push_to, state.settings)
    if further(export.formats):
        check_writable(export.formats, state.workers.list(LIVING_SECONDS, None))
