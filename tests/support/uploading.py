"""Uploads as a client sends them, and files to be sent."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from safetensors.numpy import save

from service.state import GatewayState

DATASETS, MODELS = "/v1/datasets", "/v1/models"
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


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as target:
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


def refused(answer: httpx.Response, status: int, code: str, words: str = "") -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    assert words in body["detail"]
    return body


def stored(state: GatewayState) -> list[str]:
    """The files of uploads that are in the store."""
    root = Path(state.settings.artifacts_url.removeprefix("file://")) / "uploads"
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def tarred(files: dict[str, bytes], top: str = "") -> bytes:
    """In a folder ``top`` where that is given, which ends in a slash."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as target:
        for name, content in files.items():
            member = tarfile.TarInfo(top + name)
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    return packed.getvalue()
