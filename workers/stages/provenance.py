"""What the weights of a run are made from: two runs with the same provenance train the same models."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from sources.fingerprint import RECIPE
from workers.stages.resolve import ResolvedJob


def provenance_of(job: ResolvedJob) -> dict[str, Any]:
    """As JSON."""
    return {
        "request": job.request.model_dump(mode="json"),
        "recovery": job.recovery.model_dump(),
        "fingerprints": job.fingerprints,
        "device": job.device.type,
        "recipe": RECIPE,
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
    }
