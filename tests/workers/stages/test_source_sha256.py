"""What a job says of its source's weights is the same in every job on that model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from api_schemas.requests import JobRequest
from tests.support.embedding_models import NORMALIZE, embedding_model
from tests.support.whole_jobs import own
from workers.cache.folder import FolderCache
from workers.settings import WorkerSettings
from workers.stages.job_cache import JobCache
from workers.stages.progress import ProgressReporter
from workers.stages.resolve import resolve_job


def test_it_is_of_the_weights_whether_modules_are_kept_or_not(tmp_path: Path, table: Path) -> None:
    model = embedding_model(tmp_path / "model", NORMALIZE)
    settings = WorkerSettings(data_dir=tmp_path, model_roots=[tmp_path], data_roots=[tmp_path], device="cpu")
    progress = ProgressReporter(lambda _: None)
    cache = JobCache(FolderCache(tmp_path / "host", 1 << 30), progress)

    def source_sha256(body: dict[str, Any]) -> str | None:
        request = JobRequest.model_validate({"model": str(model), **body})
        return resolve_job(request, None, settings, cache, progress).content.source_sha256

    kept = source_sha256({"task": "none", "prune": {"strategy": "parameter_variance", "drop": 1}})
    left = source_sha256({"task": own(table), "prune": {"strategy": "top", "drop": 1}})
    assert kept is not None
    assert kept == left
