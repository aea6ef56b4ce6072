"""A whole job in this process: what its report says."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _minilm import SOURCE
from scipy import stats

from api_schemas.requests import JobRequest
from workers.cache.folder import FolderCache
from workers.pipeline import run_pipeline
from workers.settings import WorkerSettings


def report_of(body: dict[str, Any], home: Path) -> dict[str, Any]:
    """Of a job on SOURCE and data below ``home``, where jobs share what they can and leave what they made."""
    out = Path(tempfile.mkdtemp(dir=home))
    settings = WorkerSettings(data_dir=out, model_roots=[SOURCE], data_roots=[home])
    shared = FolderCache(home / "cache", settings.cache_bytes)
    run_pipeline(
        JobRequest.model_validate({"model": str(SOURCE), **body}), job_id=None, out=out, settings=settings,
        tell=lambda event: None, shared=shared, archived=False,
    )  # fmt: skip
    found: dict[str, Any] = json.loads((out / "artifact" / "report.json").read_text())
    return found


def by_seed(report: dict[str, Any], side: str) -> list[float]:
    """The scores of ``before`` or ``after``, by seed; of one seed its score."""
    found = report[side]
    return list(found["scores"]["by_seed"].values()) if found["scores"] else [found["score"]]


def half_interval(values: Sequence[float]) -> float | None:
    """How far the ends of the mean's interval are from it, by Student's t at 95 %; None of one value."""
    if len(values) < 2:
        return None
    return float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
