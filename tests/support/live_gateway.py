"""A gateway under uvicorn in a thread of the test's, on a port that it comes back to; the test plays the worker."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn
from safetensors.numpy import save_file

from service.app import create_app, server_options
from service.settings import GatewaySettings
from service.state import GatewayState
from tests.support.gateway_process import free_port
from tests.support.migrated_database import migrated_sqlite
from tests.support.processes import eventually


class LiveGateway:
    """``settings`` are those of the gateway, beside its folders."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.models, self.tables = folder / "models", folder / "tables"
        for root in (self.models, self.tables):
            root.mkdir(parents=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        given: dict[str, Any] = {"database_url": "", "broker_url": "", "artifacts_url": "", "glue_dir": None}
        given |= {"retry_seconds": 0, "feed_seconds": 0.05, "reap_seconds": 3600}
        given |= {"data_dir": folder / "data", "port": self.port}
        given |= {"model_roots": [self.models], "data_roots": [self.tables]}
        self.settings = GatewaySettings(**{**given, **settings})
        migrated_sqlite(self.settings.database_url)
        self.model = bert(self.models / "bert")

    def start(self) -> None:
        self._server = uvicorn.Server(uvicorn.Config(create_app(self.settings), **server_options(self.settings)))
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        eventually(self._answers)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)

    @property
    def state(self) -> GatewayState:
        found: GatewayState = self._server.config.app.state.gateway  # type: ignore[union-attr]
        return found

    def body(self, **more: Any) -> dict[str, Any]:
        """Of a job that trains nothing."""
        return {"model": str(self.model), "task": "none", "prune": {"strategy": "top", "drop": 2}, **more}

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False).is_success
        except httpx.TransportError:
            return False


@contextmanager
def live_gateway(folder: Path, **settings: Any) -> Iterator[LiveGateway]:
    gateway = LiveGateway(folder, **settings)
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()


def bert(folder: Path, layers: int = 6) -> Path:
    """The folder of a BERT with tiny weights."""
    folder.mkdir()
    tensors = {"embeddings.word_embeddings.weight": np.zeros((10, 4), np.float32)}
    for layer in range(layers):
        tensors[f"encoder.layer.{layer}.output.dense.weight"] = np.full((4, 4), layer, np.float32)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "bert", "architectures": ["BertModel"], "num_hidden_layers": layers, "hidden_size": 4}
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 10, "max_position_embeddings": 32}))
    return folder
