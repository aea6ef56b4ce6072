"""PLACEHOLDER of the branch w/figures: w/study-service has the real one."""

from __future__ import annotations

from api_schemas.errors import LayercutError
from api_schemas.studies.shown import Study
from service.state import GatewayState
from store.audit import Actor


def read_study(state: GatewayState, actor: Actor, study_id: str) -> Study:
    raise LayercutError("study_not_found", f"there is no study {study_id[:80]!r}")
