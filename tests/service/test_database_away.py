"""PostgreSQL is frozen, or stopped: every call that there is is answered in time with 503, and none with 500."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.settings import GatewaySettings
from tests.support.gateway_process import gateway_process
from tests.support.postgres_server import PostgresServer
from tests.support.tiny_checkpoints import bert_files

#: Within which an answer must have come, whatever hangs.
SECONDS = 3.0

#: What needs no database, and so goes on.
FREE = (
    "/healthz",
    "/metrics",
    "/version",
    "/problems/{name}",
    "/v1/strategies",
    "/v1/architectures",
    "/v1/tasks",
    "/v1/formats",
)
OPERATIONS = [
    (method.upper(), path)
    for path, methods in create_app(GatewaySettings()).openapi()["paths"].items()
    for method in methods
]
NAMES = {"job_id": "job_000000000000000000000000", "name": "report.json", "key_id": "lc_00000000"}


class Gateway:
    """A process of its own, and a job that it takes."""

    def __init__(self, port: int, folder: Path) -> None:
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=SECONDS)
        self.log = folder / "gateway.log"
        job = {"model": str(folder / "models" / "bert"), "task": "none", "prune": {"strategy": "top", "drop": 1}}
        self.bodies = {("POST", "/v1/jobs"): job, ("POST", "/v1/jobs/cancel"): {"metadata": {"of": "nobody"}}}

    def ask(self, method: str, path: str) -> httpx.Response:
        names = NAMES | ({"name": "layers"} if "/figures/" in path else {})
        filled = re.sub(r"\{(\w+)(:path)?\}", lambda found: names.get(found[1], "x"), path)
        return self.client.request(method, filled, json=self.bodies.get((method, path)))


@pytest.fixture(scope="module")
def gateway(fragile_postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "models" / "bert").mkdir(parents=True)
    for name, content in bert_files().items():
        (folder / "models" / "bert" / name).write_bytes(content)
    with gateway_process(folder, database_url=fragile_postgres.url, model_roots=folder / "models") as port:
        made = Gateway(port, folder)
        yield made
        made.client.close()


@pytest.fixture(scope="module", params=["frozen", "stopped"])
def fault(request: pytest.FixtureRequest, fragile_postgres: PostgresServer, gateway: Gateway) -> Iterator[str]:
    assert gateway.ask("POST", "/v1/jobs").status_code == httpx.codes.ACCEPTED
    begin, end = {
        "frozen": (fragile_postgres.freeze, fragile_postgres.thaw),
        "stopped": (fragile_postgres.stop, fragile_postgres.start),
    }[request.param]
    begin()
    try:
        yield request.param
    finally:
        end()
    # No connection that has gone stale answers the next call.
    assert gateway.ask("GET", "/v1/jobs").status_code == httpx.codes.OK
    assert gateway.ask("POST", "/v1/jobs").status_code == httpx.codes.ACCEPTED


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_call_is_answered_in_time(gateway: Gateway, fault: str, method: str, path: str) -> None:
    began = time.monotonic()
    answer = gateway.ask(method, path)
    # The client's own limit begins anew with each piece that comes.
    assert time.monotonic() - began < SECONDS
    if path in FREE:
        assert answer.status_code == httpx.codes.OK or answer.json()["code"] == "not_found"
        return
    assert answer.status_code < 500 or answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        assert int(answer.headers["Retry-After"]) > 0
    else:
        assert method != "GET"  # refused for its body, before the database was asked
    if path == "/readyz":
        assert answer.json()["checks"]["database"] == "unreachable"
    elif path.startswith("/v1/jobs"):
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")


def test_it_is_told_in_single_lines(gateway: Gateway, fault: str) -> None:
    assert gateway.ask("GET", "/v1/jobs").status_code == httpx.codes.SERVICE_UNAVAILABLE
    text = gateway.log.read_text()
    assert "Traceback" not in text
    assert "request_failed" in text
    assert "SELECT" not in text
