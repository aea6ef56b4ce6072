"""What the weights of a run are made from: two runs with the same origin train the same models."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from sources.fingerprint import RECIPE
from workers.stages.resolve import Subject


def origin_of(subject: Subject) -> dict[str, Any]:
    """As JSON."""
    return {
        "request": subject.request.model_dump(mode="json"),
        "recovery": subject.recovery.model_dump(),
        "fingerprints": subject.fingerprints,
        "device": subject.device.type,
        "recipe": RECIPE,
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
    }
