"""What is started before its database, and what cannot start with the addresses that it was given."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support.gateway_process import gateway_process
from tests.support.postgres_server import PostgresServer
from tests.support.processes import eventually
from tests.support.serve_process import LAYERCUT, environment


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


@pytest.mark.parametrize(
    ("command", "settings", "why"),
    [
        ("gateway", {"artifacts_url": "ftp://user:geheim@host/a"}, "'ftp://host/a' is no address of an object store"),
        ("worker", {"artifacts_url": "http://seaweedfs:8333/bucket"}, "is no bucket: it is s3://bucket/prefix"),
        (
            "gateway",
            {"artifacts_url": "s3://b", "presigned_endpoint": "files.example.org"},
            "'files.example.org' is no",
        ),
    ],
)
def test_an_artifact_store_that_cannot_be_is_refused_with_one_sentence(
    tmp_path: Path, command: str, settings: dict[str, str], why: str
) -> None:
    told = subprocess.run(
        [*LAYERCUT, command],
        env=environment(data_dir=tmp_path, **settings), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert told.returncode == 1
    assert why in told.stderr
    assert ("geheim" in told.stderr, "Traceback" in told.stderr) == (False, False)
    assert told.stderr.count("\n") == 1
