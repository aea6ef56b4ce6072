"""The gateway as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from service.callers import ADMITTED, READER, REFUSALS
from service.edge.callers import Callers
from service.edge.connections import STOP, ConnectionLimits, guarded, raise_descriptor_limit
from service.edge.methods import Methods
from service.edge.origins import allow_origins
from service.edge.root_path import RootPath
from service.listening import needs_key
from service.middleware import RequestContext
from service.openapi import ANYWHERE, install_openapi, problems
from service.pages.routers import OPEN_PAGES, PAGES, PAGES_LAST
from service.pages.visits import ENTERED
from service.problems import install_problems
from service.reaper import Reaper
from service.routes import (
    artifacts,
    catalog,
    events,
    figures,
    hub,
    jobs,
    keys,
    limits,
    logs,
    metrics,
    operations,
    pages,
    plans,
    studies,
    upload_files,
    uploads,
    webhooks,
    workers,
)
from service.settings import GatewaySettings
from service.state import new_metrics, open_for_upkeep, open_state
from service.version import VERSION
from telemetry.logs import configure_logs
from telemetry.tracing import Tracing

DESCRIPTION = "Makes transformer models smaller by dropping whole layers, repairs them, and proves what it delivers."

#: For callers: each is let in first. What stands in no list is not there.
ROUTERS = (
    jobs.router,
    events.router,
    logs.router,
    artifacts.router,
    *figures.routers,
    plans.router,
    studies.router,
    *uploads.routers,
    *upload_files.routers,
    catalog.router,
    limits.router,
    keys.router,
    webhooks.router,
    workers.router,
)
#: For anybody; ``metrics`` looks at its callers itself.
OPEN_ROUTERS = (operations.router, pages.router, metrics.router)

#: FastAPI's own, and in none of them.
DOCUMENT = "openapi.json"

# How long open connections may take when the gateway is told to stop. Streams close at once.
DRAIN_SECONDS = 10


def create_app(settings: GatewaySettings | None = None) -> FastAPI:
    """The application. Database, artifacts and broker are opened when it starts, not before."""
    chosen = settings or GatewaySettings()
    counted, tracing = new_metrics(), Tracing("layercut-gateway", VERSION)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        state = await run_in_threadpool(open_state, chosen, counted, tracing)
        app.state.gateway = state
        metrics.watch(state)
        upkeep = await run_in_threadpool(open_for_upkeep, state)
        reaper = Reaper(upkeep)
        state.wakeups.start()
        reaper.start()
        state.deliverer.start()
        try:
            async with state.feed.running():
                yield {STOP: state.feed.stop}
        finally:
            await run_in_threadpool(reaper.stop)
            await run_in_threadpool(state.deliverer.stop)
            await run_in_threadpool(state.wakeups.stop)
            with suppress(Exception):  # a database that is away: these keys are free after their time
                await run_in_threadpool(state.idempotency.release_late)
            state.reads.close()
            state.admissions.close()
            state.drawing_room.close()
            state.upload_slots.close()
            state.authenticator.close()
            upkeep.engine.dispose()
            state.engine.dispose()
            await run_in_threadpool(tracing.close)

    app = FastAPI(
        title="layercut",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url=f"/{DOCUMENT}",
        docs_url=None,  # FastAPI's pages load their scripts from elsewhere; ours is service/routes/pages.py
        redoc_url=None,
        responses=problems(*ANYWHERE),
        generate_unique_id_function=lambda route: route.name,
    )
    for router in ROUTERS:
        app.include_router(router, dependencies=[ADMITTED], responses=problems(*REFUSALS))
    for router in OPEN_ROUTERS:
        app.include_router(router)
    for router in OPEN_PAGES:
        app.include_router(router)
    for router in (*PAGES, PAGES_LAST):
        app.include_router(router, dependencies=[ENTERED])
    app.include_router(hub.router, dependencies=[READER])  # the last: some of its addresses begin with any word
    methods = Methods((*ROUTERS, *OPEN_ROUTERS, *OPEN_PAGES, *PAGES, PAGES_LAST, hub.router))
    install_problems(app, methods)
    install_openapi(app, key_needed=needs_key(chosen), root_path=chosen.root_path)
    allow_origins(app, chosen.allowed_origins)
    measured = counted if chosen.metrics else None
    app.add_middleware(RequestContext, callers=Callers(chosen), metrics=measured, tracing=tracing)
    if chosen.root_path:
        app.add_middleware(RootPath, root=chosen.root_path, ours=methods.first_parts | {DOCUMENT}, is_ours=methods.has)
    return app


def serve(settings: GatewaySettings | None = None) -> None:
    """Run the gateway in this process until it is told to stop."""
    chosen = settings or GatewaySettings()
    configure_logs(chosen.log_level)
    raise_descriptor_limit()
    uvicorn.run(create_app(chosen), **server_options(chosen))


def server_options(settings: GatewaySettings) -> dict[str, Any]:
    """What ``uvicorn.Config`` is told beside the application."""
    return {
        "host": settings.host,
        "port": settings.port,
        "http": guarded(ConnectionLimits.of(settings)),
        "ws": "none",
        "timeout_keep_alive": round(settings.idle_seconds),
        "timeout_graceful_shutdown": DRAIN_SECONDS,
        "log_config": None,
        "server_header": False,
        # uvicorn's own default believes whoever forwards bytes from this machine.
        "proxy_headers": bool(settings.trusted_proxies),
        "forwarded_allow_ips": settings.trusted_proxies,
    }
