"""A gateway that takes models and data from folders, uploads and an S3 server, and what tests give it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from fastapi.testclient import TestClient
from obstore.store import ObjectStore
from safetensors.numpy import load_file, save_file

from api_schemas.uploads import UploadKind
from service.app import create_app
from service.settings import GatewaySettings
from service.state import GatewayState
from store.audit import Actor
from store.tables import DEFAULT_TENANT
from tests.support.migrated_database import migrated_sqlite
from tests.support.objects import put
from tests.support.seaweedfs import Identity, Seaweed
from tests.support.uploaded import uploaded

#: By which a file of this machine gets to the service.
Way = Literal["path", "upload", "s3"]
TABLE = "text,label\n" + "".join(f"a {('bad', 'good')[n % 2]} film {n},{('neg', 'pos')[n % 2]}\n" for n in range(40))
TASK = {"text_columns": ["text"], "label_column": "label"}

MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


class SourceGateway:
    """``folder`` is an allowed root; ``url`` an allowed prefix of ``store``."""

    def __init__(self, client: TestClient, folder: Path, url: str, store: ObjectStore) -> None:
        self.client, self.folder, self.url, self.store = client, folder, url, store
        self.state: GatewayState = client.app.state.gateway  # type: ignore[attr-defined]
        self._numbers = itertools.count()

    def preview(self, **body: Any) -> dict[str, Any]:
        answer = self.client.post("/v1/jobs?validate_only=true", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def refusal(self, **body: Any) -> tuple[int, str, str, str]:
        """Status, code, field and words."""
        found = self.client.post("/v1/jobs", json=body).json()
        return found["status"], found["code"], found["errors"][0]["pointer"], found["detail"]

    def place(self, source: Path, way: Way, tenant: str = DEFAULT_TENANT) -> str:
        """Have the file or folder where ``way`` says; how a request names it."""
        if way == "path":
            return str(source)
        if way == "s3":
            return put(self.store, f"{self.url}/{next(self._numbers)}/{source.name}", source)
        kind = UploadKind.MODEL if (source / "config.json").exists() else UploadKind.DATASET
        if source.is_file():
            source = self.write(source.name, source.read_bytes()).parent
        return uploaded(self.state.uploads.of(Actor(tenant)), self.state.artifacts, source, kind)

    def write(self, name: str, content: str | bytes = TABLE) -> Path:
        """A file in a folder of its own."""
        path = self._new_folder() / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def model(self, name: str = "bert", **config: Any) -> Path:
        """A BERT of six layers, with tiny weights."""
        folder = self._new_folder() / name
        folder.mkdir()
        tensors = {"embeddings.word_embeddings.weight": np.zeros((10, 4), np.float32)}
        for layer in range(6):
            tensors[f"encoder.layer.{layer}.output.dense.weight"] = np.full((4, 4), layer, np.float32)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        text = {
            "model_type": "bert", "architectures": ["BertModel"], "num_hidden_layers": 6, "hidden_size": 4,
            "vocab_size": 10, "max_position_embeddings": 32,
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps({**text, **config}))
        return folder

    def _new_folder(self) -> Path:
        folder = self.folder / str(next(self._numbers))
        folder.mkdir()
        return folder


def add_modules(folder: Path) -> Path:
    """Make it one of sentence-transformers."""
    (folder / "modules.json").write_text(json.dumps(MODULES))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 4, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


def into_shards(folder: Path) -> Path:
    """Its weights in two files, with their index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    weight_map: dict[str, str] = {}
    for number, names in enumerate((sorted(tensors)[:3], sorted(tensors)[3:]), 1):
        shard = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in names}, folder / shard, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


@contextmanager
def source_gateway(
    folder: Path, seaweedfs: Seaweed, identity: Identity, environment: dict[str, str] | None = None, **settings: Any
) -> Iterator[SourceGateway]:
    """Of ``folder``, an empty one; it asks the S3 server as ``identity``, or as ``environment`` says."""
    url = f"s3://layercut/{folder.parent.name}/{folder.name}"
    urls = [url, "s3://nowhere"]
    values: dict[str, Any] = {
        "data_dir": folder / "data", "database_url": "", "broker_url": "", "artifacts_url": "", "glue_dir": None,
        "model_roots": [folder], "data_roots": [folder], "model_urls": urls, "data_urls": urls, "source_seconds": 1.0,
        "reap_seconds": 3600, "retry_seconds": 0, "database_seconds": 30, "allowed_hosts": ["testserver"],
        "look_bytes": 2**24,
    }  # fmt: skip
    made = GatewaySettings(**{**values, **settings})
    migrated_sqlite(made.database_url)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in (environment or seaweedfs.environment(identity)).items():
            patched.setenv(name, value)
        with TestClient(create_app(made)) as client:
            yield SourceGateway(client, folder, url, seaweedfs.store())
