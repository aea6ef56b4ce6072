"""`layercut serve | gateway | worker`: the service on this machine."""

# ruff: noqa: PLC0415 - each command imports its own side only: the gateway's machine has no torch, and no command waits
# for what it does not use.

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.children import follow_parent
from cli.extras import need
from cli.texts import say

#: A gateway whose parent is gone has so long to answer what it was asked.
LEAVE_SECONDS = 30.0


def serve(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="port to listen on; 0 takes a free one")] = 8000,
    data_dir: Annotated[
        Path | None, typer.Option(help="where everything is kept; by default LAYERCUT_DATA_DIR or ~/.layercut")
    ] = None,
) -> None:
    """Gateway and one worker on this machine, with no server to install."""
    need("worker")
    from cli.serving import serve_here
    from store.settings import StoreSettings
    from workers.sandbox.kernel import hide_process

    hide_process()
    if data_dir is not None:
        os.environ["LAYERCUT_DATA_DIR"] = str(data_dir.expanduser().absolute())
    _migrate()
    _refuse_strangers({"host": host})
    _warn_as_root()
    raise typer.Exit(serve_here(host, port, StoreSettings().data_dir))


def gateway(
    host: Annotated[str | None, typer.Option(help="by default LAYERCUT_HOST or 127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="by default LAYERCUT_PORT or 8000")] = None,
) -> None:
    """The REST side alone. Needs no torch."""
    need("gateway")
    from service.app import serve as serve_gateway
    from service.settings import GatewaySettings
    from telemetry.logs import configure_logs
    from workers.sandbox.kernel import hide_process

    hide_process()  # what is in its environment is for no other process
    child = follow_parent(LEAVE_SECONDS)
    _migrate()
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    _refuse_strangers(given)
    # What is refused until here is one sentence for people; from here on there are lines.
    configure_logs(GatewaySettings().log_level)
    _warn_as_root(child)
    serve_gateway(GatewaySettings.model_validate(given))


def worker(
    devices: Annotated[
        str | None,
        typer.Option(help="one worker for each GPU: auto, or UUIDs (nvidia-smi -L) with commas"),
    ] = None,
) -> None:
    """One worker: one job at a time, on one GPU or on the CPU."""
    need("worker")
    if devices is not None:
        from cli.fleet import work_on
        from workers.sandbox.kernel import hide_process
        from workers.settings import WorkerSettings

        hide_process()
        child = follow_parent(WorkerSettings().leave_seconds)
        _migrate()
        _warn_as_root(child)
        raise typer.Exit(work_on(devices))
    from telemetry.logs import configure_logs
    from workers.celery_app import run_worker
    from workers.sandbox.kernel import hide_process
    from workers.settings import WorkerSettings

    hide_process()
    child = follow_parent(WorkerSettings().leave_seconds)
    _migrate()
    configure_logs(WorkerSettings().log_level)
    _warn_as_root(child)
    raise typer.Exit(run_worker())


def _warn_as_root(child: bool = False) -> None:
    """Once for the whole installation: a child's parent has said it already."""
    if os.geteuid() != 0 or child:
        return
    said = "this runs as root, and opens files that strangers wrote. Start it as a user that owns nothing else"
    if logging.getLogger().handlers:  # a line among lines, which programs read
        logging.getLogger("layercut").warning("%s (the images do)", said)
    else:
        say(f"warning: {said} (the images do)")


def _migrate() -> None:
    """Bring the database up to date, once it is there; what cannot be used is refused with one sentence."""
    from store.database import DatabaseAway, NewerDatabase, migrate_when_there, open_engine
    from store.settings import StoreSettings

    settings = StoreSettings()
    _check_artifacts(settings.artifacts_url)
    engine = open_engine(settings.database_url, settings.database_seconds)
    try:
        migrate_when_there(engine, say)
    except (DatabaseAway, NewerDatabase) as error:
        say(error)
        raise typer.Exit(1) from None
    finally:
        engine.dispose()


def _check_artifacts(url: str, presigned_endpoint: str = "") -> None:
    """Exit with one sentence for an address that no artifact store has. Whether it answers, /readyz says."""
    from store.artifacts import ArtifactStore

    try:
        ArtifactStore(url, mkdir=False, presigned_endpoint=presigned_endpoint)
    except ValueError as error:
        say(f"the artifact store: {error}")
        raise typer.Exit(1) from None


def _refuse_strangers(given: dict[str, Any]) -> None:
    """Exit with one sentence where others could reach a gateway that nobody has a key to."""
    from service.listening import refusal
    from service.settings import GatewaySettings
    from store.database import open_engine
    from store.keys import KeyStore

    settings = GatewaySettings.model_validate(given)
    _check_artifacts(settings.artifacts_url, settings.presigned_endpoint)
    engine = open_engine(settings.database_url)
    try:
        why = refusal(settings, KeyStore(engine))
    finally:
        engine.dispose()
    if why is not None:
        say(why)
        raise typer.Exit(1)
