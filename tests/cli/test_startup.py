"""What is started before its database, and what cannot start with the addresses that it was given."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import pytest
import typer

from cli.hosting import _check_artifacts
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
    ("url", "endpoint", "why"),
    [
        ("ftp://user:geheim@host/a", "", "'ftp://host/a' is no address of an object store"),
        ("http://seaweedfs:8333/bucket", "", "is no bucket: it is s3://bucket/prefix"),
        ("file://host/a", "", "three slashes"),
        ("s3://b", "files.example.org", "'files.example.org' is no"),
    ],
)
def test_an_artifact_store_that_cannot_be_is_refused_with_one_sentence(
    url: str, endpoint: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended:
        _check_artifacts(url, endpoint)
    told = capsys.readouterr().err
    assert (ended.value.exit_code, why in told, "geheim" in told, told.count("\n")) == (1, True, False, 1)


@pytest.mark.parametrize("command", ["gateway", "worker"])
def test_nothing_starts_with_such_a_one(tmp_path: Path, command: str) -> None:
    told = subprocess.run(
        [*LAYERCUT, command],
        env=environment(data_dir=tmp_path, artifacts_url="ftp://x"),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (told.returncode, told.stderr.count("\n"), list(tmp_path.iterdir())) == (1, 1, [])
