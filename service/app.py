"""The gateway as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from service.edge.callers import Callers
from service.edge.connections import ConnectionLimits, guarded, raise_descriptor_limit
from service.edge.origins import allow_origins
from service.logs import configure_logs
from service.middleware import RequestContext
from service.openapi import ANYWHERE, install_openapi, problems
from service.problems import install_problems
from service.reaper import Reaper
from service.routes import artifacts, catalog, events, jobs, limits, operations, pages, plans
from service.settings import GatewaySettings
from service.state import open_state
from service.version import VERSION

DESCRIPTION = "Makes transformer models smaller by dropping whole layers, repairs them, and proves what it delivers."

ROUTERS = (
    jobs.router,
    events.router,
    artifacts.router,
    plans.router,
    catalog.router,
    limits.router,
    operations.router,
    pages.router,
)

# How long open connections may take when the gateway is told to stop. Streams close at once.
DRAIN_SECONDS = 10


def create_app(settings: GatewaySettings | None = None) -> FastAPI:
    """The application. Database, artifacts and broker are opened when it starts, not before."""
    chosen = settings or GatewaySettings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state = await run_in_threadpool(open_state, chosen)
        app.state.gateway = state
        reaper = Reaper(state)
        state.wakeups.start()
        reaper.start()
        try:
            async with state.feed.running():
                yield
        finally:
            await run_in_threadpool(reaper.stop)
            await run_in_threadpool(state.wakeups.stop)
            state.admissions.close()
            state.engine.dispose()

    app = FastAPI(
        title="layercut",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load their scripts from elsewhere; ours is service/routes/pages.py
        redoc_url=None,
        responses=problems(*ANYWHERE),
        generate_unique_id_function=lambda route: route.name,
    )
    for router in ROUTERS:
        app.include_router(router)
    install_problems(app)
    install_openapi(app)
    allow_origins(app, chosen.allowed_origins)
    app.add_middleware(RequestContext, callers=Callers(chosen))
    return app


def serve(settings: GatewaySettings | None = None) -> None:
    """Run the gateway in this process until it is told to stop."""
    chosen = settings or GatewaySettings()
    configure_logs(chosen.log_level)
    raise_descriptor_limit()
    uvicorn.run(
        create_app(chosen),
        http=guarded(ConnectionLimits.of(chosen)),
        ws="none",
        timeout_keep_alive=round(chosen.idle_seconds),
        host=chosen.host,
        port=chosen.port,
        log_config=None,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        server_header=False,
    )
