"""A gateway and a worker in processes of their own, with a receiver for their traces, and one job that was done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.support.gateway_process import free_port, gateway_process
from tests.support.otlp import Receiver, otlp_receiver
from tests.support.processes import eventually
from tests.support.worker_process import RealWorker, Site, site

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ASKED = {"traceparent": f"00-{TRACE}-{SPAN}-01", "x-request-id": "asked-by-a-test"}


@dataclass
class Installation:
    folder: Path
    gateway: httpx.Client
    gateway_port: int
    worker: RealWorker
    worker_port: int
    site: Site
    receiver: Receiver
    body: dict[str, Any]
    #: As it was answered to the POST.
    job: dict[str, Any]

    def lines(self, log: Path) -> list[dict[str, Any]]:
        """Of a process's log; fails where one is no JSON object."""
        return [json.loads(line) for line in log.read_text().splitlines()]


def small_model(folder: Path) -> Path:
    """Three layers that a gateway can look at, and nobody could compute with."""
    folder.mkdir(parents=True)
    tensors = {f"encoder.layer.{layer}.output.dense.weight": np.zeros((4, 4), np.float32) for layer in range(3)}
    tensors["embeddings.word_embeddings.weight"] = np.zeros((10, 4), np.float32)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "bert", "architectures": ["BertModel"], "num_hidden_layers": 3, "hidden_size": 4}
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 10, "max_position_embeddings": 32}))
    return folder


@contextmanager
def installed(folder: Path) -> Iterator[Installation]:
    worker_port = free_port()
    data, model = folder / "data", small_model(folder / "models" / "bert")
    with otlp_receiver() as receiver, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        with gateway_process(folder, model_roots=model.parent) as port, site(data) as here:
            worker = here.start_worker(worker_port=worker_port)
            acts = "moan:the-runner-says-so stage:resolving stage:pruning progress:0.5 succeed"
            prune = {"strategy": "top", "drop": 1}
            body = {"model": str(model), "task": "none", "prune": prune, "metadata": {"acts": acts}}
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
                job = client.post("/v1/jobs", json=body, headers=ASKED).json()
                assert eventually(lambda: _ended(client, job["id"])) == "succeeded"
                yield Installation(folder, client, port, worker, worker_port, here, receiver, body, job)


def _ended(client: httpx.Client, job_id: str) -> str | None:
    found = client.get(f"/v1/jobs/{job_id}").json()
    return found["status"] if found["finished_at"] else None
