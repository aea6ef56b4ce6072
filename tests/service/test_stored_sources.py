"""Models and data by path, as uploads and from an S3 server, over HTTP: the same job, and what is pinned of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from api_schemas.requests import PlanRequest
from api_schemas.tenants import Scope
from api_schemas.uploads import UploadKind
from sources.fingerprint import FileHashes
from sources.importance import Asked, Identities, identify
from sources.models import inspect
from sources.tasks import with_data
from store.audit import Actor
from tests.support.access import bearer, key_of
from tests.support.seaweedfs import READER, Seaweed
from tests.support.source_gateway import (
    TABLE,
    TASK,
    SourceGateway,
    Way,
    add_modules,
    into_shards,
    source_gateway,
)

PAIRS = "sentence1,sentence2,score\n" + "".join(f"text {n},words {n},{n / 10}\n" for n in range(10))
TEXTS = "".join(f"a text without a label {n}\n" for n in range(30))
LARGE = "text,label\n" + "a good film,pos\n" * 10 + f"{'a bad film ' * 100},neg\n" * 16_000

WAYS = pytest.mark.parametrize("way", ["path", "upload", "s3"])
STORED = pytest.mark.parametrize("way", ["upload", "s3"])


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, seaweedfs: Seaweed) -> Iterator[SourceGateway]:
    """It may read the bucket, and no more."""
    with source_gateway(tmp_path_factory.mktemp("gateway"), seaweedfs, READER) as found:
        yield found


@STORED
def test_the_same_job_from_anywhere_is_the_same(gateway: SourceGateway, way: Way) -> None:
    model, data = gateway.model(), gateway.write("reviews.csv")
    body = {"model": gateway.place(model, way), "task": {**TASK, "dataset": gateway.place(data, way)}}
    found = gateway.preview(**body)
    expected = gateway.preview(model=str(model), task={**TASK, "dataset": str(data)})
    for answer in (found, expected):
        answer["resolved"]["plan"]["model"]["id"] = ""
    resolved = found["resolved"]
    assert resolved["plan"] == expected["resolved"]["plan"]
    assert resolved["recovery"] == expected["resolved"]["recovery"]
    assert resolved["task"]["read"] == expected["resolved"]["task"]["read"]
    assert found["estimate"] == expected["estimate"]
    assert resolved["task"]["dataset"].endswith("/reviews.csv")
    plan = gateway.client.post("/v1/plans", json=body)
    assert plan.status_code == 200, plan.text
    assert (plan.json()["kept"], plan.json()["estimate"] is not None) == (resolved["plan"]["kept"], True)
    assert gateway.client.post("/v1/jobs", json=body).status_code == 202


@STORED
def test_resolved_says_what_was_pinned(gateway: SourceGateway, way: Way) -> None:
    model, data = gateway.place(gateway.model(), way), gateway.place(gateway.write("reviews.csv"), way)
    found = gateway.preview(model=model, task={**TASK, "dataset": data})["resolved"]["sources"]
    by_param = {source["param"]: source for source in found}
    assert {param: source["source"] for param, source in by_param.items()} == {"/model": model, "/task/dataset": data}
    (file,) = by_param["/task/dataset"]["files"]
    assert (file["bytes"], len(file["sha256"])) == (len(TABLE), 64), "what was fetched is known by its content"
    files = {file["name"]: file for file in by_param["/model"]["files"]}
    assert set(files) == {"config.json", "model.safetensors"}
    assert files["model.safetensors"]["etag" if way == "s3" else "sha256"]


@WAYS
def test_a_folder_has_training_and_dev_files(gateway: SourceGateway, way: Way) -> None:
    train = gateway.write("train.csv")
    (train.parent / "validation.csv").write_text(TABLE.replace(" film", " play"))
    name = gateway.place(train.parent, way)
    task = gateway.preview(model=str(gateway.model()), task={**TASK, "dataset": name})["resolved"]["task"]
    assert task["dev_read"]["delimiter"] == ","
    if way != "path":
        assert (task["dataset"], task["dev"]) == (f"{name}/train.csv", f"{name}/validation.csv")
        one = {**TASK, "dataset": f"{name}/validation.csv", "dev": f"{name}/train.csv"}
        assert gateway.preview(model=str(gateway.model()), task=one)["resolved"]["task"]["dataset"] == one["dataset"]
        wrong = gateway.refusal(model=str(gateway.model()), task={**one, "dev": name})
        assert wrong[:3] == (422, "dataset_invalid", "/task/dev")
        assert f"as in {name}/train.csv" in wrong[3]


@WAYS
def test_dev_pairs_calibration_and_unlabelled_text(gateway: SourceGateway, way: Way) -> None:
    train, dev = (gateway.place(gateway.write(name), way) for name in ("train.csv", "dev.csv"))
    text = gateway.place(gateway.write("texts.txt", TEXTS), way)
    prune = {"strategy": "block_influence", "calibration": {"dataset": text}}
    found = gateway.preview(
        model=str(gateway.model()), task={**TASK, "dataset": train, "dev": dev}, prune=prune,
        recovery={"text": {"dataset": text}},
    )  # fmt: skip
    named = ["/task/dataset", "/task/dev", "/recovery/text/dataset", "/prune/calibration/dataset"]
    assert [source["param"] for source in found["resolved"]["sources"]] == ([] if way == "path" else named)
    assert found["estimate"] is not None
    pairs = gateway.place(gateway.write("pairs.csv", PAIRS), way)
    kind = {"kind": "embedding", "dataset": text, "pairs": {"dataset": pairs}}
    task = gateway.preview(model=str(add_modules(gateway.model())), task=kind)["resolved"]["task"]
    assert task["pairs"]["read"]["delimiter"] == ","


@WAYS
def test_files_of_words_and_tags(gateway: SourceGateway, way: Way) -> None:
    words = "".join(f"word{n} B-X\nand O\n\n" for n in range(10))
    name = gateway.place(gateway.write("tags.conll", words), way)
    task = {"dataset": name, "kind": "token-classification"}
    assert gateway.preview(model=str(gateway.model()), task=task)["resolved"]["task"]["dataset"].endswith(".conll")
    columns = gateway.refusal(model=str(gateway.model()), task={**task, **TASK})
    assert (columns[1], "has no names of columns" in columns[3]) == ("validation_failed", True)


@WAYS
def test_a_sharded_model_and_one_of_sentence_transformers(gateway: SourceGateway, way: Way) -> None:
    name = gateway.place(add_modules(into_shards(gateway.model())), way)
    found = gateway.preview(model=name, task="none")["resolved"]
    assert found["plan"]["model"]["modules"] == ["Transformer", "Pooling"]
    if way != "path":
        names = {file["name"] for file in found["sources"][0]["files"]}
        assert {"1_Pooling/config.json", "model-00001-of-00002.safetensors"} < names


def _lines() -> str:
    return "".join(f'{{"text": "{"x" * 1000}", "label": "{number % 2}"}}\n' for number in range(17_000))


def _parquet(path: Path) -> Path:
    with duckdb.connect() as connection:
        rows = "SELECT md5(random()::VARCHAR) AS text, i % 2 AS label FROM range(800_000) r(i)"
        connection.execute(f"COPY ({rows}) TO '{path}' (COMPRESSION uncompressed)")
    return path


@pytest.mark.parametrize(("way", "ending"), [("upload", "csv"), ("s3", "csv"), ("s3", "jsonl"), ("s3", "parquet")])
def test_a_large_table_is_looked_at_in_part(gateway: SourceGateway, way: Way, ending: str) -> None:
    path = gateway.write(f"large.{ending}", LARGE if ending == "csv" else _lines())
    name = gateway.place(_parquet(path) if ending == "parquet" else path, way)
    model = str(gateway.model())
    found = gateway.preview(model=model, task={**TASK, "dataset": name})
    assert found["estimate"] is not None
    assert "'no'" in gateway.refusal(model=model, task={**TASK, "label_column": "no", "dataset": name})[3]
    assert [warning for warning in found["resolved"]["plan"]["warnings"] if "LAYERCUT_LOOK_BYTES" in warning]
    assert found["resolved"]["task"]["read"]["encoding"] == "auto", "who sees all of it decides"


def test_what_was_just_sent_is_named_in_a_job(gateway: SourceGateway) -> None:
    model = [("file", (path.name, path.read_bytes())) for path in sorted(gateway.model().iterdir())]
    sent = [
        gateway.client.post("/v1/models", files=model),
        gateway.client.post("/v1/datasets", files={"file": ("reviews.csv", TABLE)}),
    ]
    assert [answer.status_code for answer in sent] == [201, 201], [answer.text for answer in sent]
    name, data = (answer.json()["source"] for answer in sent)
    found = gateway.preview(model=name, task={**TASK, "dataset": data})["resolved"]
    assert found["plan"]["model"]["layers"] == 6
    assert found["task"]["dataset"] == f"{data}/reviews.csv"


def test_an_upload_stays_while_a_job_needs_it(gateway: SourceGateway) -> None:
    name = gateway.place(gateway.write("kept.csv"), "upload")
    body: dict[str, Any] = {"model": str(gateway.model()), "task": {**TASK, "dataset": name}}
    job = gateway.client.post("/v1/jobs", json=body).json()
    own, upload_id = gateway.state.uploads.of(Actor()), name.removeprefix("upload:")
    assert own.get(upload_id, UploadKind.DATASET).used_by == [job["id"]]
    gateway.client.post(f"/v1/jobs/{job['id']}/cancel")
    own.delete(upload_id, UploadKind.DATASET)
    assert gateway.refusal(**body)[:3] == (410, "expired", "/task/dataset")


def test_another_tenant_names_no_upload_of_mine(gateway: SourceGateway) -> None:
    name = gateway.place(gateway.write("mine.csv"), "upload", tenant="mine")
    body = {"model": str(gateway.model()), "task": {**TASK, "dataset": name}}
    mine, theirs = (bearer(key_of(gateway.state, tenant, Scope.SUBMIT)) for tenant in ("mine", "theirs"))
    assert gateway.client.post("/v1/jobs", json=body, headers=mine).status_code == 202
    assert gateway.client.post("/v1/jobs", json=body, headers=theirs).json()["code"] == "upload_not_found"


def _identities(gateway: SourceGateway, body: dict[str, Any]) -> Identities:
    """What the gateway keeps answers of the request under."""
    hashes = FileHashes(gateway.folder / "data" / "hashes")
    with gateway.state.named_sources(Actor()) as named:
        request = with_data(named.fetch(PlanRequest.model_validate(body)), named.settings)
        ref, stored = request.model, None
        if ref.is_stored:
            facts = named.model(ref, modules=request.keeps_modules)
            assert named.stored is not None
            stored = named.stored.known(hashes)
        else:
            found = inspect(ref, named.settings, modules=request.keeps_modules)
            assert found is not None
            facts = found
        return identify(Asked.by_plan(request, facts, stored=stored), facts, named.settings, hashes)


@STORED
@pytest.mark.parametrize("kind", ["classification", "embedding"])
def test_the_same_files_are_one_question_wherever_they_lie(gateway: SourceGateway, way: Way, kind: str) -> None:
    model, data = add_modules(into_shards(gateway.model())), gateway.write("train.csv")
    (model / "LICENSE.txt").write_text("Do what you like.")
    task = {"text_columns": ["text"], "kind": kind, **({"label_column": "label"} if kind == "classification" else {})}
    prune = {"strategy": "auto", "objective": {"drop": 1}}

    def asked(model: str, data: str) -> dict[str, Any]:
        return {"model": model, "task": {**task, "dataset": data}, "prune": prune}

    expected = _identities(gateway, asked(str(model), str(data)))
    body = asked(gateway.place(model, way), gateway.place(data, way))
    found = _identities(gateway, body)
    assert found.model == expected.model is not None
    assert found.task == expected.task is not None
    assert _identities(gateway, body) == found, "and again, by what is remembered"
