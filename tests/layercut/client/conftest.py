"""One gateway for all tests of the client; each has jobs of its own."""

from __future__ import annotations

from collections.abc import Iterator

import huggingface_hub.constants
import pytest
import structlog

from layercut.client import AsyncClient, Client
from tests.support.blocking_client import either_client
from tests.support.cut_proxy import CutProxy, cut_proxy
from tests.support.live_gateway import LiveGateway, live_gateway


@pytest.fixture(autouse=True, scope="session")
def _quiet_logs() -> None:
    structlog.configure(
        logger_factory=structlog.ReturnLoggerFactory(), processors=[structlog.processors.JSONRenderer()]
    )


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for name in ("LAYERCUT_URL", "LAYERCUT_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with live_gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture
def proxy(gateway: LiveGateway) -> Iterator[CutProxy]:
    with cut_proxy(gateway.port) as between:
        yield between


@pytest.fixture
def client(gateway: LiveGateway) -> Iterator[Client]:
    with Client(gateway.url) as client:
        yield client


@pytest.fixture(params=[Client, AsyncClient])
def far(request: pytest.FixtureRequest, proxy: CutProxy) -> Iterator[Client]:
    """A client behind the proxy: one that waits, and one that awaits."""
    with either_client(request.param, proxy.url) as client:
        yield client
