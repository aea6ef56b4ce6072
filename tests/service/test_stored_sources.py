"""Requests that name uploads, and objects of an S3 server, over HTTP: what is pinned, and every way to be no good."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from safetensors.numpy import load_file, save_file

from api_schemas.tenants import Scope
from api_schemas.uploads import UploadKind
from service.settings import GatewaySettings
from service.state import GatewayState
from store.audit import Actor
from store.tables import DEFAULT_TENANT
from tests.support.access import bearer, key_of
from tests.support.objects import put
from tests.support.s3_server import BUCKET, Bucket, bucket
from tests.support.seaweedfs import Identity, Seaweed
from tests.support.uploaded import uploaded

TABLE = "text,label\n" + "".join(f"a {('bad', 'good')[n % 2]} film {n},{('neg', 'pos')[n % 2]}\n" for n in range(40))
PAIRS = "sentence1,sentence2,score\n" + "".join(f"text {n},words {n},{n / 10}\n" for n in range(10))
TEXTS = "".join(f"a text without a label {n}\n" for n in range(30))
TASK = {"text_columns": ["text"], "label_column": "label"}
SECRET = "a-secret-in-the-address"

#: A file or folder of this machine, at the service by one of the ways; how a request names it.
Place = Callable[[Path], str]


@pytest.fixture
def settings(settings: GatewaySettings, s3_url: str) -> GatewaySettings:
    urls = [s3_url, "s3://nowhere", "s3://private"]
    update = {"model_urls": urls, "data_urls": urls, "source_seconds": 1.0, "look_bytes": 2**24}
    return settings.model_copy(update=update)


@pytest.fixture
def upload(state: GatewayState) -> Callable[..., str]:
    def make(kind: UploadKind, source: Path, tenant: str = DEFAULT_TENANT) -> str:
        folder = source
        if source.is_file():
            folder = source.parent / f"{source.stem}-alone"
            folder.mkdir()
            (folder / source.name).write_bytes(source.read_bytes())
        return uploaded(state.uploads.of(Actor(tenant)), state.artifacts, folder, kind)

    return make


@pytest.fixture(params=["path", "upload", "s3"])
def place(request: pytest.FixtureRequest, s3_url: str, seaweedfs: Seaweed, upload: Callable[..., str]) -> Place:
    def of(source: Path) -> str:
        is_model = (source / "config.json").exists()
        if request.param == "upload":
            return upload(UploadKind.MODEL if is_model else UploadKind.DATASET, source)
        return str(source) if request.param == "path" else put(seaweedfs.store(), f"{s3_url}/{source.name}", source)

    return of


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, text: str = TABLE) -> Path:
        path = tmp_path / "tables" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
        return path

    return write


def preview(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/jobs?validate_only=true", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refusal(answer: Any) -> tuple[int, str, str, str]:
    body = answer.json()
    assert SECRET not in answer.text
    return answer.status_code, body["code"], body["errors"][0]["pointer"], body["detail"]


def test_the_same_job_from_anywhere_is_the_same(
    client: TestClient, make_model: Callable[..., Path], table: Callable[..., Path], place: Place
) -> None:
    model, data = make_model(), table("reviews.csv")
    expected = preview(client, model=str(model), task={**TASK, "dataset": str(data)})
    body = {"model": place(model), "task": {**TASK, "dataset": place(data)}}
    found = preview(client, **body)
    resolved, by_path = found["resolved"], expected["resolved"]
    for answer in (found, expected):
        answer["resolved"]["plan"]["model"]["id"] = ""
    assert resolved["plan"] == by_path["plan"]
    assert found["estimate"] == expected["estimate"]
    assert resolved["task"]["read"] == by_path["task"]["read"]
    assert resolved["task"]["dataset"].endswith("/reviews.csv")
    plan = client.post("/v1/plans", json=body)
    assert plan.status_code == 200, plan.text
    assert plan.json()["kept"] == by_path["plan"]["kept"]
    assert client.post("/v1/jobs", json=body).status_code == 202


def test_resolved_says_what_was_pinned(
    client: TestClient, make_model: Callable[..., Path], table: Callable[..., Path], place: Place
) -> None:
    model, data = place(make_model()), place(table("reviews.csv"))
    sources = preview(client, model=model, task={**TASK, "dataset": data})["resolved"]["sources"]
    if model.startswith("/"):
        assert sources == []
        return
    by_param = {source["param"]: source for source in sources}
    assert {param: source["source"] for param, source in by_param.items()} == {"/model": model, "/task/dataset": data}
    (file,) = by_param["/task/dataset"]["files"]
    assert (file["bytes"], len(file["sha256"])) == (len(TABLE), 64), "what was fetched is known by its content"
    files = {file["name"]: file for file in by_param["/model"]["files"]}
    assert set(files) == {"config.json", "model.safetensors"}
    weights = files["model.safetensors"]
    assert weights["etag"] if model.startswith("s3://") else weights["sha256"]


def test_a_folder_has_training_and_dev_files(
    client: TestClient, body: dict[str, Any], table: Callable[..., Path], place: Place
) -> None:
    table("both/train.csv", TABLE)
    folder = table("both/validation.csv").parent
    name = place(folder)
    task = preview(client, model=body["model"], task={**TASK, "dataset": name})["resolved"]["task"]
    if not name.startswith("/"):
        assert (task["dataset"], task["dev"]) == (f"{name}/train.csv", f"{name}/validation.csv")
    assert task["dev_read"]["delimiter"] == ","
    wrong = client.post("/v1/jobs", json={**body, "task": {**TASK, "dataset": place(table("one.csv")), "dev": name}})
    assert refusal(wrong)[:3] == (422, "dataset_invalid", "/task/dev")


def test_dev_pairs_calibration_and_unlabelled_text(
    client: TestClient, body: dict[str, Any], table: Callable[..., Path], place: Place
) -> None:
    train, dev, text = place(table("train.csv")), place(table("dev.csv")), place(table("texts.txt", TEXTS))
    found = preview(
        client, model=body["model"], task={**TASK, "dataset": train, "dev": dev},
        prune={"strategy": "block_influence", "calibration": {"dataset": text}}, recovery={"text": {"dataset": text}},
    )  # fmt: skip
    assert [source["param"] for source in found["resolved"]["sources"]] == (
        []
        if train.startswith("/")
        else ["/task/dataset", "/task/dev", "/recovery/text/dataset", "/prune/calibration/dataset"]
    )
    assert found["estimate"] is not None
    pairs = place(table("pairs.csv", PAIRS))
    kind = {"kind": "embedding", "dataset": text, "pairs": {"dataset": pairs}}
    assert preview(client, model=body["model"], task=kind)["resolved"]["task"]["pairs"]["read"]["delimiter"] == ","


WRONG_TABLES = {
    "a column": ("text;label\na;b\n", {"read": {"delimiter": ";"}, "label_column": "labels"}),
    "labels": (TABLE, {"labels": ["pos", "neutral"]}),
    "one label": ("text,label\n" + "a,x\n" * 9, {}),
    "a row": (TABLE + "a,b,c\n", {}),
    "no rows": ("text,label\n", {}),
    "too few": ("text,label\na,x\nb,y\n", {}),
}


@pytest.mark.parametrize("wrong", WRONG_TABLES)
def test_what_is_wrong_with_a_table_is_said_as_of_a_path(
    client: TestClient, body: dict[str, Any], table: Callable[..., Path], place: Place, wrong: str
) -> None:
    text, more = WRONG_TABLES[wrong]
    path = table("data.csv", text)
    name = place(path)
    by_path = client.post("/v1/jobs", json={**body, "task": {**TASK, **more, "dataset": str(path)}})
    found = client.post("/v1/jobs", json={**body, "task": {**TASK, **more, "dataset": name}})
    assert refusal(found)[:3] == refusal(by_path)[:3]
    expected = refusal(by_path)[3].removeprefix(str(path))
    assert refusal(found)[3].endswith(expected), refusal(found)[3]


def test_a_sharded_model_and_one_of_sentence_transformers(
    client: TestClient, make_model: Callable[..., Path], place: Place
) -> None:
    folder = make_model("sharded")
    split(folder)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 4, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    name = place(folder)
    found = preview(client, model=name, task="none")["resolved"]
    assert found["plan"]["model"]["modules"] == ["Transformer", "Pooling"]
    if not name.startswith("/"):
        names = {file["name"] for file in found["sources"][0]["files"]}
        assert {"1_Pooling/config.json", "model-00001-of-00002.safetensors"} < names


def split(folder: Path) -> None:
    """Its weights into two shards, with their index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    weight_map: dict[str, str] = {}
    for number, names in enumerate((sorted(tensors)[:3], sorted(tensors)[3:]), 1):
        shard = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in names}, folder / shard, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def hostile(folder: Path) -> dict[str, str]:
    """Faults that a model's folder may have, each as what the refusal says."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.py"}}))
    return {"model_not_allowed": "remote code"}


def test_a_model_is_read_as_anybodys(client: TestClient, make_model: Callable[..., Path], place: Place) -> None:
    folder = make_model("hostile")
    ((code, words),) = hostile(folder).items()
    assert refusal(client.post("/v1/jobs", json={"model": place(folder), "task": "none"}))[1] == code
    broken = make_model("broken")
    with (broken / "model.safetensors").open("r+b") as file:
        file.truncate(200)
    found = refusal(client.post("/v1/jobs", json={"model": place(broken), "task": "none"}))
    assert (found[1], "truncated" in found[3]) == ("model_invalid", True)
    swapped = make_model("lfs")
    (swapped / "vocab.txt").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "git-lfs" in refusal(client.post("/v1/jobs", json={"model": place(swapped), "task": "none"}))[3]
    pickles = make_model("pickles", weights=False)
    (pickles / "pytorch_model.bin").write_bytes(b"PK")
    found = refusal(client.post("/v1/jobs", json={"model": place(pickles), "task": "none"}))
    assert found[1] == "model_invalid"
    assert words


def test_what_an_address_may_not_be(client: TestClient, body: dict[str, Any], s3_url: str) -> None:
    wrong = {
        f"s3://key:{SECRET}@layercut/a.csv": "no '@' in it",
        f"{s3_url}/a.csv?X-Amz-Signature={SECRET}": r"no '?' in it",
        "s3://elsewhere/a.csv": "LAYERCUT_DATA_URLS of the service names",
        f"{s3_url}-and-more/a.csv": "LAYERCUT_DATA_URLS of the service names",
        f"{s3_url}/../../other/a.csv": "'.' or '..'",
        "gs://layercut/a.csv": "LAYERCUT_DATA_URLS of the service names",
    }
    for name, words in wrong.items():
        found = refusal(client.post("/v1/jobs", json={**body, "task": {**TASK, "dataset": name}}))
        assert found[:3] == (422, "dataset_not_allowed", "/task/dataset"), name
        assert words in found[3], found[3]
    found = refusal(client.post("/v1/jobs", json={**body, "model": f"s3://other/{SECRET.replace('a-secret', 'x')}"}))
    assert found[:3] == (422, "model_not_allowed", "/model")
    assert "LAYERCUT_MODEL_URLS" in found[3]


def test_what_keeps_an_object_from_being_read_is_told_apart(
    client: TestClient, body: dict[str, Any], s3_url: str, seaweedfs: Seaweed
) -> None:
    def asked(**named: Any) -> tuple[int, str, str, str]:
        return refusal(client.post("/v1/jobs", json={**body, **named}))

    def data(name: str) -> tuple[int, str, str, str]:
        return asked(task={**TASK, "dataset": name})

    assert data(f"{s3_url}/none.csv") == (
        422, "dataset_not_found", "/task/dataset", f"there is nothing at {s3_url}/none.csv",
    )  # fmt: skip
    assert asked(model=f"{s3_url}/none")[:3] == (422, "model_not_found", "/model")
    found = data("s3://nowhere/a.csv")
    assert found[:3] == (422, "dataset_not_found", "/task/dataset")
    assert "no bucket 'nowhere'" in found[3]
    assert "no bucket 'nowhere'" in asked(model="s3://nowhere/a")[3]


@pytest.fixture
def stranger(seaweedfs: Seaweed, monkeypatch: pytest.MonkeyPatch) -> str:
    """The service has a key that no longer exists; its secret."""
    lost = Identity("lost", "AKIALOST", SECRET, ())
    for name, value in seaweedfs.environment(lost).items():
        monkeypatch.setenv(name, value)
    return lost.secret_key


def test_a_store_that_refuses(client: TestClient, body: dict[str, Any], s3_url: str, stranger: str) -> None:
    for named in ({"model": f"{s3_url}/bert"}, {"task": {**TASK, "dataset": f"{s3_url}/a.csv"}}):
        answer = client.post("/v1/jobs", json={**body, **named})
        status, code, _, words = refusal(answer)
        assert (status, code.endswith("_not_allowed")) == (422, True)
        assert "refuses to let this service read s3://layercut/" in words
        assert "AKIALOST" not in answer.text


def test_a_store_that_stalls_is_given_up_in_time(
    client: TestClient, body: dict[str, Any], s3_url: str, seaweedfs: Seaweed
) -> None:
    seaweedfs.freeze()
    try:
        answers = [
            client.post("/v1/jobs", json={**body, **named})
            for named in ({"model": f"{s3_url}/bert"}, {"task": {**TASK, "dataset": f"{s3_url}/a.csv"}})
        ]
    finally:
        seaweedfs.thaw()
    for answer in answers:
        status, code, _, words = refusal(answer)
        assert (status, code) == (409, "source_unavailable")
        assert "did not answer in time" in words
        assert answer.headers["Retry-After"]


def test_a_store_that_cannot_be_reached(
    client: TestClient, body: dict[str, Any], s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    found = refusal(client.post("/v1/jobs", json={**body, "model": f"{s3_url}/bert"}))
    assert found[:2] == (409, "source_unavailable")
    assert "cannot be reached" in found[3]


def test_a_large_table_is_looked_at_in_part(
    client: TestClient, body: dict[str, Any], table: Callable[..., Path], place: Place
) -> None:
    path = table("large.csv", "text,label\n" + "a good film,pos\n" * 10 + f"{'a bad film ' * 100},neg\n" * 16_000)
    name = place(path)
    found = preview(client, model=body["model"], task={**TASK, "dataset": name})
    assert found["estimate"] is not None
    wrong = client.post("/v1/jobs", json={**body, "task": {**TASK, "label_column": "no", "dataset": name}})
    assert "'no'" in refusal(wrong)[3]
    said = [warning for warning in found["resolved"]["plan"]["warnings"] if "LAYERCUT_LOOK_BYTES" in warning]
    assert len(said) == (0 if name.startswith("/") else 1)
    if said:
        assert found["resolved"]["task"]["read"]["delimiter"] == "auto", "the worker decides what it sees in full"


def test_weights_that_are_too_large_are_refused_by_the_list_alone(
    settings: GatewaySettings, make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, s3_url: str
) -> None:
    with bucket() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.environment["AWS_ENDPOINT"])
        folder = make_model("large")
        for path in folder.iterdir():
            server.objects[f"large/{path.name}"] = path.read_bytes()
        found = _asked(settings, server)
    assert (found[1], "LAYERCUT_MAX_MODEL_BYTES" in found[3]) == ("ceiling_passed", True)
    assert not [path for _, path, _ in server.asked if path.endswith(".safetensors")]


def _asked(settings: GatewaySettings, server: Bucket) -> tuple[int, str, str, str]:
    from service.app import create_app  # noqa: PLC0415

    small = settings.model_copy(update={"max_model_bytes": 100, "model_urls": [f"s3://{BUCKET}"]})
    with TestClient(create_app(small)) as client:
        return refusal(client.post("/v1/jobs", json={"model": f"s3://{BUCKET}/large", "task": "none"}))


def test_uploads_that_are_no_good(
    client: TestClient, state: GatewayState, body: dict[str, Any], table: Callable[..., Path],
    upload: Callable[..., str], make_model: Callable[..., Path],
) -> None:  # fmt: skip
    def data(name: str) -> tuple[int, str, str, str]:
        return refusal(client.post("/v1/jobs", json={**body, "task": {**TASK, "dataset": name}}))

    table("both/a.csv")
    several = upload(UploadKind.DATASET, table("both/b.csv").parent)
    model = upload(UploadKind.MODEL, make_model("up"))
    theirs = upload(UploadKind.DATASET, table("theirs.csv"), tenant="other")
    missing = f"upload:upl_{'0' * 24}"
    assert data(missing)[:3] == (404, "upload_not_found", "/task/dataset")
    assert data(theirs) == (404, "upload_not_found", "/task/dataset", data(missing)[3].replace(missing[7:], theirs[7:]))
    assert data("upload:abc")[:2] == (404, "upload_not_found")
    assert data(model)[:2] == (404, "upload_not_found")
    assert data(several)[:2] == (422, "dataset_not_found"), "no train.csv among them"
    assert data(f"{several}/c.csv")[1] == "dataset_not_found"
    assert "it has a.csv, b.csv" in data(f"{several}/c.csv")[3]
    assert data(f"job:job_{'0' * 24}")[1] == "dataset_not_allowed"
    unfinished = state.uploads.of(Actor()).create(UploadKind.DATASET, [], None)
    assert data(unfinished.source)[:2] == (409, "upload_not_ready")
    refused = refusal(client.post("/v1/jobs", json={**body, "model": f"{model}/config.json"}))
    assert (refused[1], "all files of an upload" in refused[3]) == ("model_invalid", True)


def test_an_upload_stays_while_a_job_needs_it(
    client: TestClient,
    state: GatewayState,
    body: dict[str, Any],
    table: Callable[..., Path],
    upload: Callable[..., str],
) -> None:
    name = upload(UploadKind.DATASET, table("kept.csv"))
    job = client.post("/v1/jobs", json={**body, "task": {**TASK, "dataset": name}}).json()
    own, upload_id = state.uploads.of(Actor()), name.removeprefix("upload:")
    assert own.get(upload_id, UploadKind.DATASET).used_by == [job["id"]]
    client.post(f"/v1/jobs/{job['id']}/cancel")
    own.delete(upload_id, UploadKind.DATASET)
    again = client.post("/v1/jobs", json={**body, "task": {**TASK, "dataset": name}})
    assert refusal(again)[:3] == (410, "expired", "/task/dataset")


def test_another_tenant_names_no_upload_of_mine(
    client: TestClient,
    state: GatewayState,
    body: dict[str, Any],
    table: Callable[..., Path],
    upload: Callable[..., str],
) -> None:
    mine = bearer(key_of(state, "mine", Scope.WRITE))
    name = upload(UploadKind.DATASET, table("mine.csv"), tenant="mine")
    asked = {**body, "task": {**TASK, "dataset": name}}
    assert client.post("/v1/jobs", json=asked, headers=mine).status_code == 202
    theirs = bearer(key_of(state, "theirs", Scope.WRITE))
    assert client.post("/v1/jobs", json=asked, headers=theirs).json()["code"] == "upload_not_found"
