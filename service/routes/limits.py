"""What may be asked for at most, here."""

from __future__ import annotations

from fastapi import APIRouter

from api_schemas.ceilings import CeilingList
from service.callers import Who, quotas_and_usage
from service.ceilings import ceilings_of
from service.state import State

router = APIRouter(prefix="/v1/limits", tags=["catalog"])


@router.get("")
def list_limits(state: State, who: Who) -> CeilingList:
    """The ceilings of this service, and the quotas of your tenant with what it uses now.

    A request that passes one is refused with its name.
    """
    quotas, usage = quotas_and_usage(state, who)
    return CeilingList(data=ceilings_of(state.settings), quotas=quotas, usage=usage)
