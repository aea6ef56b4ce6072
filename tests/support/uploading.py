"""Uploads as a client sends them, and files to be sent."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from typing import Any

import httpx
import numpy as np
from safetensors.numpy import save

CSV = b'text,label\ngood film,1\n"bad, film",0\nbroken,1,2\nfine,1\nso so,0\n'

MODEL = {
    "config.json": json.dumps(
        {"model_type": "bert", "num_hidden_layers": 2, "hidden_size": 4, "vocab_size": 10}
    ).encode(),
    "model.safetensors": save(
        {
            "embeddings.word_embeddings.weight": np.zeros((10, 4), np.float32),
            **{f"encoder.layer.{layer}.output.dense.weight": np.zeros((4, 4), np.float32) for layer in range(2)},
        }
    ),
}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as target:
        for name, content in files.items():
            target.writestr(name, content)
    return packed.getvalue()


def form(files: dict[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    """Of ``httpx``: parts called file."""
    return [("file", (name, content)) for name, content in files.items()]


def announce(client: httpx.Client, files: dict[str, bytes], kind: str = "datasets", **more: Any) -> str:
    """The id of an upload whose ``files`` are sent later."""
    listed = [{"name": name, "bytes": len(content)} for name, content in files.items()]
    answer = client.post(f"/v1/{kind}", json={"files": listed, **more})
    assert answer.status_code == 201, answer.text
    upload_id: str = answer.json()["id"]
    return upload_id


def put(client: httpx.Client, address: str, content: bytes, start: int = 0, end: int | None = None) -> httpx.Response:
    """Send the bytes from ``start`` up to, not including, ``end`` of a file that is ``content``."""
    end = len(content) if end is None else end
    sent = {"Content-Range": f"bytes {start}-{end - 1}/{len(content)}"}
    return client.put(address, content=content[start:end], headers=sent)
