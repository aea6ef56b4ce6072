"""The workers that are there."""

from __future__ import annotations

from fastapi import APIRouter

from api_schemas.tenants import Scope
from api_schemas.workers import WorkerList
from service.callers import Who
from service.state import State
from store.tables import DEFAULT_TENANT
from store.workers import LIVING_SECONDS

router = APIRouter(prefix="/v1/workers", tags=["operations"])


@router.get("")
def list_workers(state: State, who: Who) -> WorkerList:
    """The workers that were heard of lately, what they do, and what locks their runners in.

    A job is named to its own tenant, and to an admin of the tenant `default`.
    """
    tenant = who.holder.tenant
    sees_all = tenant == DEFAULT_TENANT and who.holder.scope.covers(Scope.ADMIN)
    return WorkerList(data=state.workers.list(LIVING_SECONDS, None if sees_all else tenant))
