"""What the weights of a run are made from: two runs with the same origin train the same models."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from typing import Any

from workers.subject import Subject

#: One more whenever the training loop begins to give other weights: what an older one has begun is then left alone.
RECIPE = 1


def origin_of(subject: Subject) -> dict[str, Any]:
    """As JSON. Reads all the weights of a model that has no revision."""
    data = {} if subject.data is None else {"train": subject.data.train, **subject.data.dev}
    return {
        "request": subject.request.model_dump(mode="json"),
        "recovery": subject.recovery.model_dump(),
        "data": {split: rows.sha256 for split, rows in data.items()},
        "model": subject.facts.revision or _weights_sha256(subject),
        "device": subject.device.type,
        "recipe": RECIPE,
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
    }


def _weights_sha256(subject: Subject) -> str:
    digest = hashlib.sha256()
    for path in sorted(subject.folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
