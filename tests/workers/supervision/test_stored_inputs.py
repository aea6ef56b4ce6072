"""Uploads and objects as a worker stages them: as they were pinned, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest

from api_schemas.errors import LayercutError
from sources.objects.addresses import parse
from sources.staging import Staged
from store.passing import passing
from tests.support.objects import put
from tests.support.seaweedfs import READER, Identity, Seaweed
from tests.support.source_gateway import TABLE, TASK, SourceGateway, Way, add_modules, into_shards, source_gateway
from workers.settings import WorkerSettings
from workers.supervision.input_staging import stage_inputs
from workers.supervision.stored_inputs import StoreInputs

STORED = pytest.mark.parametrize("way", ["upload", "s3"])
#: The same length as TABLE.
OTHER = TABLE.replace("good", "poor")

Stage = Callable[..., Staged]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, seaweedfs: Seaweed) -> Iterator[SourceGateway]:
    with source_gateway(tmp_path_factory.mktemp("gateway"), seaweedfs, READER) as found:
        yield found


@pytest.fixture
def stage(gateway: SourceGateway, tmp_path: Path) -> Stage:
    """Stages the job of the body, as a worker that shares no folder with the gateway."""

    def stage(body: dict[str, Any], between: Callable[[], object] = lambda: None, **settings: Any) -> Staged:
        answer = gateway.client.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        claim = gateway.state.store.claim("here")
        assert claim is not None
        assert claim.lease.job_id == answer.json()["id"]
        between()
        worker = WorkerSettings(
            **{"data_dir": tmp_path / "worker", "model_urls": [gateway.url], "data_urls": [gateway.url], **settings}
        )
        inputs = tmp_path / "inputs"
        inputs.mkdir()
        staging = stage_inputs(worker, another_user=False, stored=StoreInputs(gateway.state.artifacts, worker))
        return staging(claim, inputs, lambda: False)

    return stage


@pytest.fixture
def named(gateway: SourceGateway) -> Callable[[Way], tuple[str, str]]:
    def named(way: Way) -> tuple[str, str]:
        return gateway.place(gateway.model(), way), gateway.place(gateway.write("train.csv"), way)

    return named


@STORED
def test_the_runner_has_the_files_by_the_names_that_were_resolved(
    gateway: SourceGateway, stage: Stage, way: Way
) -> None:
    source = into_shards(gateway.model())
    folder = gateway.write("train.csv").parent
    (folder / "dev.csv").write_text(OTHER)
    data = gateway.place(folder, way)
    staged = stage({"model": gateway.place(source, way), "task": {**TASK, "dataset": data}})
    for path in source.rglob("*"):
        if path.is_file():
            assert (staged.inputs.model / path.relative_to(source)).read_bytes() == path.read_bytes()
    assert staged.inputs.file(f"{data}/train.csv").read_text() == TABLE
    assert staged.inputs.file(f"{data}/dev.csv").read_text() == OTHER
    assert all(staged.inputs.known_sha256(path) for path in staged.inputs.folder.rglob("*") if path.is_file())


@STORED
def test_modules_come_along_where_they_stay(gateway: SourceGateway, stage: Stage, way: Way) -> None:
    source = add_modules(gateway.model())
    staged = stage({"model": gateway.place(source, way), "task": "none"})
    pooling = staged.inputs.model / "1_Pooling" / "config.json"
    assert pooling.read_bytes() == (source / "1_Pooling" / "config.json").read_bytes()


@pytest.mark.parametrize(("field", "code"), [("/task", "dataset_invalid"), ("/model", "model_invalid")])
def test_an_object_that_changed_since_it_was_pinned_is_refused(
    gateway: SourceGateway, stage: Stage, named: Any, field: str, code: str
) -> None:
    model, data = named("s3")
    change = {
        "/task": lambda: put(gateway.store, data, OTHER.encode()),
        "/model": lambda: put(gateway.store, f"{model}/model.safetensors", b"\0" * 100),
    }[field]
    with pytest.raises(LayercutError, match="was changed after it was looked at: POST the job again") as caught:
        stage({"model": model, "task": {**TASK, "dataset": data}}, change)
    assert (caught.value.code, passing(caught.value)) == (code, None)
    assert (caught.value.param or "").startswith(field)


def test_an_object_that_has_gone_is_named(gateway: SourceGateway, stage: Stage, named: Any) -> None:
    model, data = named("s3")
    with pytest.raises(LayercutError, match=f"there is nothing at {data}") as caught:
        stage(
            {"model": model, "task": {**TASK, "dataset": data}}, lambda: obstore.delete(gateway.store, parse(data).key)
        )
    assert (caught.value.code, caught.value.param) == ("dataset_not_found", "/task/dataset")


def test_an_upload_that_was_changed_where_it_is_kept_is_refused(
    gateway: SourceGateway, stage: Stage, named: Any
) -> None:
    model, data = named("upload")
    stored = gateway.folder / "data" / "artifacts" / "uploads" / data.removeprefix("upload:") / "train.csv"
    with pytest.raises(LayercutError, match="is not what was there when this job was accepted") as caught:
        stage({"model": model, "task": {**TASK, "dataset": data}}, lambda: stored.write_text(OTHER))
    assert (caught.value.code, caught.value.param) == ("dataset_invalid", "/task/dataset")


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"max_model_bytes": 100}, "ceiling_passed", "LAYERCUT_MAX_MODEL_BYTES"),
        ({"data_urls": []}, "dataset_not_allowed", "LAYERCUT_DATA_URLS"),
    ],
)
def test_what_a_worker_may_not_read_is_refused(
    stage: Stage, named: Any, settings: dict[str, Any], code: str, words: str
) -> None:
    model, data = named("s3")
    with pytest.raises(LayercutError, match=words) as caught:
        stage({"model": model, "task": {**TASK, "dataset": data}}, **settings)
    assert caught.value.code == code


def test_a_store_that_refuses_a_worker_is_asked_again_later(
    stage: Stage, named: Any, seaweedfs: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that has expired is mended by whoever runs the service, and jobs wait for that as for a store of ours."""
    model, data = named("s3")
    lost = seaweedfs.environment(Identity("lost", "AKIALOST", "a-secret", ()))

    def lose() -> None:
        for name, value in lost.items():
            monkeypatch.setenv(name, value)

    with pytest.raises(LayercutError, match="refuses to let this service read") as caught:
        stage({"model": model, "task": {**TASK, "dataset": data}}, lose)
    assert caught.value.code == "source_unavailable"
    assert passing(caught.value) is caught.value
    assert "a-secret" not in caught.value.message
