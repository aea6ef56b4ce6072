"""Whole jobs on uploads and on objects of an S3 server, in this process: the same model as by path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from obstore.store import S3Store
from safetensors.torch import load, load_file

import workers.stages.deliver
from api_schemas.errors import LayercutError
from api_schemas.jobs import Job
from api_schemas.reports import Verification
from api_schemas.requests import JobRequest
from api_schemas.uploads import UploadKind
from tests.support.earlier_jobs import Service
from tests.support.objects import put
from tests.support.seaweedfs import Seaweed
from tests.support.tiny_models import tiny_model
from tests.support.whole_jobs import own
from workers.cache.folder import FolderCache
from workers.protocol import JobFile
from workers.runner import EventWriter, run_job
from workers.settings import WorkerSettings
from workers.stages.own_objects import with_objects

RECOVERY = {"epochs": 1, "learning_rate": 0.001, "baseline_learning_rate": 0.001, "batch_size": 8}

#: A file or folder, where the service gets it from; how a request names it.
Place = Callable[[Path], str]


@pytest.fixture
def service(tmp_path: Path, s3_url: str) -> Iterator[Service]:
    made = Service(tmp_path, [s3_url])
    yield made
    made.engine.dispose()


@pytest.fixture
def places(service: Service, seaweedfs: Seaweed, s3_url: str, tmp_path: Path) -> dict[str, Place]:
    def upload(source: Path) -> str:
        folder, kind = source, UploadKind.MODEL
        if source.is_file():
            folder, kind = tmp_path / "alone", UploadKind.DATASET
            folder.mkdir()
            (folder / source.name).write_bytes(source.read_bytes())
        return service.upload(folder, kind)

    return {
        "path": str,
        "upload": upload,
        "s3": lambda source: put(seaweedfs.store(), f"{s3_url}/{source.name}", source),
    }


@pytest.fixture
def believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verification is a process of its own, which takes seconds: here it is believed to pass."""
    passed = Verification(passed=True, checks=[])
    monkeypatch.setattr(workers.stages.deliver, "verify", lambda *_, **__: passed)


@pytest.mark.slow
@pytest.mark.usefixtures("believed")
def test_the_same_job_from_anywhere_makes_the_same_model(
    service: Service, places: dict[str, Place], table: Path, tmp_path: Path
) -> None:
    model = tiny_model("bert", tmp_path / "source", head="base", layers=4)
    made: dict[str, tuple[Job, dict[str, torch.Tensor]]] = {}
    for way, place in places.items():
        task = {**own(table), "dataset": place(table)}
        prune = {"strategy": "block_influence", "drop": 1}
        job = service.done(model=place(model), task=task, prune=prune, recovery=RECOVERY)
        reused = {one.kind for one in service.report(job).reused}
        assert reused >= ({"baseline", "layer_importance"} if made else set()), f"{way}: by content, wherever it lies"
        made[way] = job, load(service.file(job, "model.safetensors"))
    (first, expected), *others = made.values()
    for job, found in others:
        assert job.resolved is not None
        assert first.resolved is not None
        assert job.resolved.plan is not None
        assert first.resolved.plan is not None
        assert service.report(job).layers == service.report(first).layers
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def _settings(tmp_path: Path, s3_url: str) -> WorkerSettings:
    return WorkerSettings(data_dir=tmp_path / "data", device="cpu", model_urls=[s3_url], data_urls=[s3_url])


@pytest.mark.slow
@pytest.mark.usefixtures("believed")
def test_a_job_without_a_service_reads_objects(seaweedfs: Seaweed, s3_url: str, tmp_path: Path) -> None:
    model = tiny_model("bert", tmp_path / "source", head="base", layers=4)
    name, settings = put(seaweedfs.store(), f"{s3_url}/model", model), _settings(tmp_path, s3_url)
    job, out = tmp_path / "job.json", tmp_path / "out"
    request = {"model": name, "task": "none", "prune": {"drop_layers": [1], "strategy": "explicit"}}
    job.write_text(JobFile(id="job", request=JobRequest.model_validate(request)).model_dump_json())
    told = StringIO()
    assert run_job(job, out, EventWriter(told), FolderCache(tmp_path / "cache", 2**30), settings), told.getvalue()
    before, after = load_file(model / "model.safetensors"), load_file(out / "artifact" / "model.safetensors")
    assert len([key for key in after if "layer.2.output.dense.weight" in key]) == 1
    (last,) = [key for key in after if key.endswith("layer.2.output.dense.weight") and "attention" not in key]
    assert torch.equal(after[last], before[last.replace("layer.2", "layer.3")])
    assert not list(settings.data_dir.glob("inputs-*")), "what was fetched goes with the job"


def test_what_only_a_service_has_is_refused_without_one(s3_url: str, table: Path, tmp_path: Path) -> None:
    upload = f"upload:upl_{'0' * 24}"
    task: dict[str, Any] = {**own(table), "dataset": upload}
    asked = JobRequest.model_validate({"model": "a/b", "task": task})
    with (
        pytest.raises(LayercutError, match="uploaded to the service: POST the request there"),
        with_objects(asked, _settings(tmp_path, s3_url)),
    ):
        pass
    elsewhere = JobRequest.model_validate({"model": "s3://elsewhere/model", "task": "none"})
    with (
        pytest.raises(LayercutError, match="LAYERCUT_MODEL_URLS"),
        with_objects(elsewhere, _settings(tmp_path, s3_url)),
    ):
        pass


def test_data_is_read_by_its_own_name(seaweedfs: Seaweed, s3_url: str, table: Path, tmp_path: Path) -> None:
    store: S3Store = seaweedfs.store()
    model = tiny_model("bert", tmp_path / "source", head="base", layers=1)
    name, data = put(store, f"{s3_url}/model", model), put(store, f"{s3_url}/data/train.csv", table)
    task: dict[str, Any] = {**own(table), "dataset": data.rpartition("/")[0]}
    asked = JobRequest.model_validate({"model": name, "task": task})
    with with_objects(asked, _settings(tmp_path, s3_url)) as (request, settings):
        assert settings.inputs is not None
        assert request.task.dataset == data
        assert settings.inputs.file(data).read_bytes() == table.read_bytes()
        assert (settings.inputs.model / "config.json").exists()
