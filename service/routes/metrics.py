"""What Prometheus reads."""

from __future__ import annotations

import asyncio

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Request, Response

from api_schemas.errors import LayercutError
from service.edge.networks import address_of
from service.openapi import problems
from service.state import GatewayState, State
from store.census import count_all
from store.disk_space import artifacts_folder, database_folder
from store.keys import Holder
from store.tables import DEFAULT_TENANT
from telemetry.gateway_metrics import Census
from telemetry.metrics import CONTENT_TYPE_LATEST

#: Of a scrape: how long a key may take to be looked up before what is remembered of it will do.
KEY_SECONDS = 0.5

#: Scrapes at one time. Not of the threads of all requests: where a database that hangs holds those, one looks here.
THREADS = CapacityLimiter(4)

EXAMPLE = '# TYPE layercut_jobs gauge\nlayercut_jobs{status="queued"} 3.0\n'
TEXT = {"text/plain": {"schema": {"type": "string"}, "example": EXAMPLE}}

router = APIRouter(tags=["operations"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": TEXT, "description": "in Prometheus's text format"},
        **problems("unauthorized", "forbidden", "too_many_attempts", "not_found", "database_unavailable"),
    },
)
async def metrics(request: Request, state: State) -> Response:
    """What the service does, in numbers, for Prometheus. They are of all tenants: where keys are in use, it takes one
    of the tenant `default`.
    """
    if not state.settings.metrics:
        raise LayercutError("not_found", "LAYERCUT_METRICS is off")
    holder = await _holder(request, state)
    if holder.tenant != DEFAULT_TENANT:
        raise LayercutError("forbidden", f"metrics tell of all tenants: they take a key of the tenant {DEFAULT_TENANT}")
    return Response(await run_sync(state.metrics.text, limiter=THREADS), media_type=CONTENT_TYPE_LATEST)


async def _holder(request: Request, state: GatewayState) -> Holder:
    """Whose key it is. While the database is away, a key that was right lately will do: it is then that one looks."""
    sent, address = request.headers.get("authorization"), address_of(request.scope.get("client"))
    # One that is new to this process is waited for: its hash is slow, and there may be others before it.
    seconds = None if state.authenticator.remembered(sent) is None else KEY_SECONDS
    try:
        return await asyncio.wait_for(state.authenticator.holder(sent, address), seconds)
    except Exception as error:  # whatever a database that is away raises, or the time that is up
        if isinstance(error, LayercutError) and error.code != "database_unavailable":
            raise
        holder = state.authenticator.remembered(sent)
        if holder is None:
            raise LayercutError("database_unavailable", "the key cannot be checked: no database answers") from error
        return holder


def watch(state: GatewayState) -> None:
    """Have the gateway's metrics ask its state at each scrape."""
    folders = {"data": state.settings.data_dir}
    places = {
        "database": database_folder(state.settings.database_url),
        "artifacts": artifacts_folder(state.settings.artifacts_url),
    }
    folders |= {name: folder for name, folder in places.items() if folder is not None}
    state.metrics.watch(lambda: Census(**count_all(state.engine)), lambda: state.feed.watchers, folders)
