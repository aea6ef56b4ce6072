"""What the weights of a run are made from: two runs with the same provenance train the same models."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from sources.fingerprint import RECIPE
from workers.stages.resolved_job import ResolvedJob

#: Of the resolved request; where a job runs, and what it need not make, changes no weight. The layers of a plan that is
#: still open are told with each training that depends on them.
NOT_OF_WEIGHTS = {"plan", "device", "reused", "limits", "priority", "suffix", "metadata"}


def provenance_of(job: ResolvedJob) -> dict[str, Any]:
    """As JSON."""
    return {
        "request": job.request.model_dump(mode="json", exclude=NOT_OF_WEIGHTS),
        "recovery": job.recovery.model_dump(),
        "content": {"weights": job.content.weights, "texts": job.content.texts, **job.content.splits},
        "device": job.device.type,
        "engine": job.engine,
        "recipe": RECIPE,
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
    }
