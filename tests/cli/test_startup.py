"""A gateway that is started before its database."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.support.gateway_process import gateway_process
from tests.support.postgres_server import PostgresServer
from tests.support.processes import eventually


@pytest.mark.slow
def test_a_gateway_waits_for_a_database_that_starts_later(tmp_path: Path, fragile_postgres: PostgresServer) -> None:
    log = tmp_path / "gateway.log"
    fragile_postgres.stop()
    try:
        with gateway_process(tmp_path, wait=False, database_url=fragile_postgres.url) as port:
            eventually(lambda: log.exists() and "waiting for it" in log.read_text())
            fragile_postgres.start()
            answer = eventually(lambda: _asked(port))
    finally:
        fragile_postgres.start()
    assert answer.json()["checks"]["database"] == "ok"
    assert "Traceback" not in log.read_text()


def _asked(port: int) -> httpx.Response | None:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False)
    except httpx.TransportError:
        return None
