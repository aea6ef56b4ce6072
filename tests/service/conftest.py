"""A real gateway on SQLite, a folder of artifacts and a folder broker; the test plays the worker through the store."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import structlog
import uvicorn
from fastapi.testclient import TestClient
from safetensors.numpy import save_file
from sqlalchemy import create_engine, make_url, text

import service.routes.jobs
from service.app import create_app, server_options
from service.settings import GatewaySettings
from service.state import GatewayState
from tests.support.gateway_worker import claim, succeed
from tests.support.migrated_database import migrated_sqlite


@pytest.fixture(autouse=True)
def _quiet_logs() -> None:
    structlog.configure(
        logger_factory=structlog.ReturnLoggerFactory(), processors=[structlog.processors.JSONRenderer()]
    )


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def _settings_in(folder: Path) -> GatewaySettings:
    for name in ("models", "tables"):
        (folder / name).mkdir()
    settings = GatewaySettings(
        data_dir=folder / "data",
        database_url="",
        broker_url="",
        artifacts_url="",
        glue_dir=None,
        model_roots=[folder / "models"],
        data_roots=[folder / "tables"],
        feed_seconds=0.05,
        reap_seconds=3600,
        retry_seconds=0,
        allowed_hosts=["testserver"],
    )
    migrated_sqlite(settings.database_url)
    return settings


@pytest.fixture
def settings(tmp_path: Path) -> GatewaySettings:
    return _settings_in(tmp_path)


@pytest.fixture
def empty_database(postgres_url: str) -> Iterator[str]:
    """Of PostgreSQL: other tests leave jobs in theirs."""
    name = f"gateway_{secrets.token_hex(4)}"
    engine = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        yield make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def client(settings: GatewaySettings) -> Iterator[TestClient]:
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One gateway for all tests of a file that send nothing but what is refused."""
    with TestClient(create_app(_settings_in(tmp_path_factory.mktemp("refusing")))) as client:
        yield client


@pytest.fixture
def state(client: TestClient) -> GatewayState:
    found: GatewayState = client.app.state.gateway  # type: ignore[attr-defined]
    return found


@pytest.fixture
def server(settings: GatewaySettings) -> Iterator[uvicorn.Server]:
    """A gateway under uvicorn, started; `should_exit` is what a SIGTERM sets."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings), **{**server_options(settings), "port": 0}))
    thread = threading.Thread(target=server.run)
    started = threading.Event()
    startup = server.startup

    async def tell(*args: Any, **kwargs: Any) -> None:
        await startup(*args, **kwargs)
        started.set()

    server.startup = tell  # type: ignore[method-assign]
    thread.start()
    try:
        assert started.wait(30)
        yield server
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def live(server: uvicorn.Server) -> tuple[str, GatewayState]:
    """The address of a gateway under uvicorn, and its state."""
    port = server.servers[0].sockets[0].getsockname()[1]
    return f"http://127.0.0.1:{port}", server.config.app.state.gateway  # type: ignore[union-attr]


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes the folder of a BERT with tiny weights; keyword arguments go into its config."""

    def make(name: str = "bert", *, weights: bool = True, layers: int = 6, **config: Any) -> Path:
        folder = tmp_path / "models" / name
        folder.mkdir()
        tensors = {"embeddings.word_embeddings.weight": np.zeros((10, 4), np.float32)}
        for layer in range(layers):
            tensors[f"encoder.layer.{layer}.output.dense.weight"] = np.full((4, 4), layer, np.float32)
        if weights:
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        text = {
            "model_type": "bert",
            "architectures": ["BertModel"],
            "num_hidden_layers": layers,
            "hidden_size": 4,
            "vocab_size": 10,
            "max_position_embeddings": 32,
        }
        (folder / "config.json").write_text(json.dumps({**text, **config}))
        return folder

    return make


@pytest.fixture
def body(make_model: Callable[..., Path]) -> dict[str, Any]:
    """A request that is accepted: prune two of six layers, train nothing."""
    return {"model": str(make_model()), "task": "none", "prune": {"strategy": "top", "drop": 2}}


@pytest.fixture
def finished(client: TestClient, state: GatewayState, body: dict[str, Any], tmp_path: Path) -> str:
    """The id of a job that has succeeded."""
    job_id: str = client.post("/v1/jobs", json=body).json()["id"]
    succeed(state, claim(state), tmp_path / "scratch")
    return job_id


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Looks into models wait for the event: a disk that hangs."""
    released = threading.Event()
    admit = service.routes.jobs.admit

    def hang(*given: Any) -> Any:
        released.wait(30)
        return admit(*given)

    monkeypatch.setattr(service.routes.jobs, "admit", hang)
    yield released
    released.set()
