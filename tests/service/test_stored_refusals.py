"""Uploads and objects that are no good, over HTTP: told apart, in time, and without a secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_schemas.uploads import NewFile, UploadKind
from store.audit import Actor
from tests.support.s3_server import BUCKET, bucket
from tests.support.seaweedfs import READER, Identity, Seaweed
from tests.support.source_gateway import TABLE, TASK, SourceGateway, Way, source_gateway

SECRET = "a-secret-that-nobody-may-see"
LOST = Identity("lost", "AKIALOST", SECRET, ())

STORED = pytest.mark.parametrize("way", ["upload", "s3"])

WRONG_TABLES: dict[str, tuple[str, dict[str, Any]]] = {
    "a column": ("text;label\na;b\n", {"read": {"delimiter": ";"}, "label_column": "labels"}),
    "labels": (TABLE, {"labels": ["pos", "neutral"]}),
    "one label": ("text,label\n" + "a,x\n" * 9, {}),
    "a row": (TABLE + "a,b,c\n", {}),
    "no rows": ("text,label\n", {}),
    "too few": ("text,label\na,x\nb,y\n", {}),
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, seaweedfs: Seaweed) -> Iterator[SourceGateway]:
    with source_gateway(tmp_path_factory.mktemp("gateway"), seaweedfs, READER) as found:
        yield found


@pytest.fixture(scope="module")
def model(gateway: SourceGateway) -> str:
    return str(gateway.model())


@STORED
@pytest.mark.parametrize("wrong", WRONG_TABLES)
def test_what_is_wrong_with_a_table_is_said_as_of_a_path(
    gateway: SourceGateway, model: str, way: Way, wrong: str
) -> None:
    text, more = WRONG_TABLES[wrong]
    path = gateway.write("data.csv", text)
    by_path = gateway.refusal(model=model, task={**TASK, **more, "dataset": str(path)})
    found = gateway.refusal(model=model, task={**TASK, **more, "dataset": gateway.place(path, way)})
    assert found[:3] == by_path[:3]
    assert found[3].endswith(by_path[3].removeprefix(str(path)))


def _no_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.py"}}))


def _cut(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(200)


def _pointer(folder: Path) -> None:
    (folder / "vocab.txt").write_text("version https://git-lfs.github.com/spec/v1\n")


def _pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _many_tokens(folder: Path) -> None:
    (folder / "vocab.txt").write_text("".join(f"word{number}\n" for number in range(99)))


@STORED
@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (_no_code, "model_not_allowed", "remote code"),
        (_cut, "model_invalid", "truncated"),
        (_pointer, "model_invalid", "git-lfs"),
        (_pickle, "model_invalid", "pickle weights only"),
        (_many_tokens, "model_invalid", "resize_token_embeddings"),
    ],
)
def test_a_model_is_read_as_anybodys(gateway: SourceGateway, way: Way, spoil: Any, code: str, words: str) -> None:
    folder = gateway.model()
    spoil(folder)
    found = gateway.refusal(model=gateway.place(folder, way), task="none")
    assert found[:3] == (422, code, "/model")
    assert words in found[3]


def test_what_an_address_may_not_be(gateway: SourceGateway, model: str) -> None:
    wrong = {
        f"s3://key:{SECRET}@layercut/a.csv": "no '@' in it",
        f"{gateway.url}/a.csv?X-Amz-Signature={SECRET}": "no '?' in it",
        "s3://elsewhere/a.csv": "LAYERCUT_DATA_URLS of the service names",
        f"{gateway.url}-and-more/a.csv": "LAYERCUT_DATA_URLS of the service names",
        f"{gateway.url}/../../other/a.csv": "'.' or '..'",
        "gs://layercut/a.csv": "LAYERCUT_DATA_URLS of the service names",
        f"https://layercut.example.org/a.csv?X-Amz-Signature={SECRET}": "begin with s3://, gs:// or az://",
    }
    for name, words in wrong.items():
        found = gateway.refusal(model=model, task={**TASK, "dataset": name})
        assert found[:3] == (422, "dataset_not_allowed", "/task/dataset"), name
        assert words in found[3]
        assert SECRET not in found[3]
    assert SECRET not in gateway.refusal(model=f"https://example.org/model?token={SECRET}", task="none")[3]
    found = gateway.refusal(model="s3://other/model", task="none")
    assert found[:3] == (422, "model_not_allowed", "/model")
    assert "LAYERCUT_MODEL_URLS" in found[3]
    assert (
        "a revision is for hub models"
        in gateway.refusal(model={"id": f"{gateway.url}/a", "revision": "1"}, task="none")[3]
    )


def test_what_is_not_there_is_told_apart(gateway: SourceGateway, model: str) -> None:
    missing = f"{gateway.url}/none.csv"
    nothing = f"there is nothing at {missing}"
    assert gateway.refusal(model=model, task={**TASK, "dataset": missing}) == (
        422, "dataset_not_found", "/task/dataset", nothing,
    )  # fmt: skip
    assert gateway.refusal(model=f"{gateway.url}/none", task="none")[:3] == (422, "model_not_found", "/model")
    for field in ({"model": "s3://nowhere/a"}, {"task": {**TASK, "dataset": "s3://nowhere/a.csv"}}):
        found = gateway.refusal(**{"model": model, "task": "none", **field})
        assert found[1].endswith("_not_found")
        assert "there is no bucket 'nowhere'" in found[3]
    table = gateway.place(gateway.write("a.csv"), "s3")
    assert f"{table} is one object" in gateway.refusal(model=table, task="none")[3]
    assert "config.json" in gateway.refusal(model=table.rpartition("/")[0], task="none")[3]
    folder = gateway.place(gateway.write("a.csv").parent, "s3")
    assert gateway.refusal(model=model, task={**TASK, "dataset": folder})[1] == "dataset_not_found"


def test_a_store_that_stalls_is_given_up_in_time(gateway: SourceGateway, model: str, seaweedfs: Seaweed) -> None:
    table = {**TASK, "dataset": f"{gateway.url}/a.csv"}
    seaweedfs.freeze()
    try:
        answers = [
            gateway.client.post("/v1/jobs", json={"model": model, "task": "none", **named})
            for named in ({"model": f"{gateway.url}/bert"}, {"task": table})
        ]
    finally:
        seaweedfs.thaw()
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (409, "source_unavailable")
        assert f"{gateway.url}/" in answer.json()["detail"]
        assert "did not answer in time" in answer.json()["detail"]
        assert answer.headers["Retry-After"]


@pytest.mark.parametrize(
    ("identity", "endpoint", "status", "words"),
    [(LOST, "", 422, "refuses to let this service read"), (READER, "http://127.0.0.1:9", 409, "cannot be reached")],
)
def test_a_store_that_refuses_and_one_that_is_away(  # noqa: PLR0917 - what is compared stands in the table
    tmp_path: Path, seaweedfs: Seaweed, identity: Identity, endpoint: str, status: int, words: str
) -> None:
    environment = seaweedfs.environment(identity)
    if endpoint:
        environment |= {"AWS_ENDPOINT": endpoint, "AWS_ENDPOINT_URL": endpoint}
    with source_gateway(tmp_path, seaweedfs, identity, environment) as gateway:
        for named in ({"model": f"{gateway.url}/bert"}, {"task": {**TASK, "dataset": f"{gateway.url}/a.csv"}}):
            answer = gateway.client.post("/v1/jobs", json={"model": str(gateway.model()), "task": "none", **named})
            assert answer.status_code == status
            assert f"{gateway.url}/" in answer.json()["detail"]
            assert words in answer.json()["detail"]
            assert not any(hidden in answer.text for hidden in (identity.access_key, identity.secret_key))


def test_weights_that_are_too_large_are_refused_by_the_list_alone(tmp_path: Path, seaweedfs: Seaweed) -> None:
    with bucket() as server:
        environment = server.environment | {"AWS_ENDPOINT_URL": server.environment["AWS_ENDPOINT"]}
        urls = [f"s3://{BUCKET}"]
        with source_gateway(tmp_path, seaweedfs, READER, environment, model_urls=urls, max_model_bytes=100) as gateway:
            for path in gateway.model().iterdir():
                server.objects[f"large/{path.name}"] = path.read_bytes()
            found = gateway.refusal(model=f"s3://{BUCKET}/large", task="none")
    assert (found[1], "LAYERCUT_MAX_MODEL_BYTES" in found[3]) == ("ceiling_passed", True)
    assert not [path for _, path, _ in server.asked if path.endswith(".safetensors")]


def test_uploads_that_are_no_good(gateway: SourceGateway, model: str) -> None:
    def asked(name: str) -> tuple[int, str, str, str]:
        return gateway.refusal(model=model, task={**TASK, "dataset": name})

    table = gateway.write("a.csv")
    (table.parent / "b.csv").write_text(TABLE)
    several, a_model = gateway.place(table.parent, "upload"), gateway.place(gateway.model(), "upload")
    theirs, missing = gateway.place(table, "upload", tenant="other"), f"upload:upl_{'0' * 24}"
    assert asked(missing)[:3] == (404, "upload_not_found", "/task/dataset")
    assert asked(theirs)[3] == asked(missing)[3].replace(missing[7:], theirs[7:]), "as one that is not there"
    assert asked("upload:abc")[:2] == asked(a_model)[:2] == (404, "upload_not_found")
    assert asked(several)[:2] == (422, "dataset_not_found"), "no train.csv among them"
    assert "it has a.csv, b.csv" in asked(f"{several}/c.csv")[3]
    assert asked(f"job:job_{'0' * 24}")[1] == "dataset_not_allowed"
    files = [NewFile(name="train.csv", bytes=10)]
    unfinished = gateway.state.uploads.of(Actor()).create(UploadKind.DATASET, files, None)
    assert asked(unfinished.source)[:2] == (409, "upload_not_ready")
    file = gateway.refusal(model=f"{a_model}/config.json", task="none")
    assert (file[1], "all files of an upload" in file[3]) == ("model_invalid", True)
