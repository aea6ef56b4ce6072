"""One gateway for the commands that ask it; each test has jobs of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub.constants
import pytest
import structlog
from typer.testing import CliRunner

from cli.main import app
from store.jobs import Claim
from tests.support.gateway_worker import claim, succeed
from tests.support.live_gateway import LiveGateway, live_gateway


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, gateway: LiveGateway) -> None:
    structlog.configure(
        logger_factory=structlog.ReturnLoggerFactory(), processors=[structlog.processors.JSONRenderer()]
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("LAYERCUT_URL", gateway.url)
    monkeypatch.delenv("LAYERCUT_API_KEY", raising=False)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with live_gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    told: str


@pytest.fixture
def layercut() -> Callable[..., Done]:
    def run(*arguments: object, code: int = 0, stdin: str | None = None) -> Done:
        done = CliRunner().invoke(app, list(map(str, arguments)), input=stdin)
        assert done.exit_code == code, (done.output, done.exception)
        return Done(done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
def queued(gateway: LiveGateway, layercut: Callable[..., Done]) -> str:
    """A job of the command's, which comes before all others."""
    return layercut("submit", *flags(gateway), "--set", "priority=100").out.strip()


@pytest.fixture
def taken(gateway: LiveGateway, queued: str) -> Claim:
    """The same, with a worker: the test."""
    found = claim(gateway.state)
    assert found.lease.job_id == queued
    return found


@pytest.fixture
def delivered(gateway: LiveGateway, taken: Claim, tmp_path: Path) -> str:
    succeed(gateway.state, taken, tmp_path / "made")
    return taken.lease.job_id


def flags(gateway: LiveGateway) -> list[object]:
    """Of a small job."""
    return ["--model", gateway.model, "--task", "none", "--strategy", "top", "--drop", "2"]
