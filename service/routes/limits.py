"""What may be asked for at most, here."""

from __future__ import annotations

from fastapi import APIRouter

from api_schemas.ceilings import CeilingList
from service.ceilings import ceilings_of
from service.state import State

router = APIRouter(prefix="/v1/limits", tags=["catalog"])


@router.get("")
async def list_limits(state: State) -> CeilingList:
    """The ceilings of this service; a request that passes one is refused with its name."""
    return CeilingList(data=ceilings_of(state.settings))
