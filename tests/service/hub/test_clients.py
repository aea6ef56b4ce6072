"""Stock clients of the hub, as programs of their own with a key of this service, against a gateway process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from demo.samples import model_folder
from store.columns import later
from store.retention import RetentionStore
from store.tables import jobs
from tests.support.cutting_relay import cutting_relay
from tests.support.hub_gateway import Client, HubGateway, hub_gateway, write_model

#: With the packages of the tests, and with the oldest that artifacts are for, where they are installed.
OLDEST = Path(__file__).parents[3] / "build" / "peers" / "transformers-4.57"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubGateway]:
    with hub_gateway(tmp_path_factory.mktemp("hub-gateway")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real weights, as a job delivers them."""
    return write_model(tmp_path_factory.mktemp("delivered") / "model")


@pytest.fixture(scope="module")
def job_id(gateway: HubGateway, model: Path) -> str:
    return gateway.deliver(model, suffix="mine")


@pytest.fixture
def repo(job_id: str) -> str:
    return f"jobs/{job_id}"


@pytest.fixture(params=["newest", pytest.param("oldest", marks=[pytest.mark.slow, pytest.mark.long])])
def packages(request: pytest.FixtureRequest) -> Path | None:
    if request.param == "newest":
        return None
    if not (OLDEST / ".installed").exists():
        pytest.skip("needs the oldest transformers: make peers")
    return OLDEST


@pytest.fixture
def client(gateway: HubGateway, packages: Path | None, tmp_path: Path) -> Client:
    return Client(tmp_path / "home", gateway.url, gateway.key, packages)


API = """
import json, sys
from huggingface_hub import HfApi, get_token
api, repo = HfApi(), sys.argv[1]
info, refs = api.model_info(repo, files_metadata=True), api.list_repo_refs(repo)
print(json.dumps({
    "who": api.whoami()["name"], "sha": info.sha, "private": info.private, "name": info.card_data.model_name,
    "tag": info.pipeline_tag, "license": info.card_data.license, "head": refs.branches[0].target_commit,
    "hash": next(file.lfs.sha256 for file in info.siblings if file.rfilename == "config.json"),
    "files": api.list_repo_files(repo), "tree": [entry.path for entry in api.list_repo_tree(repo)],
    "beneath": [entry.path for entry in api.list_repo_tree(repo, "1_Pooling", revision=info.sha)],
    "paths": [entry.path for entry in api.get_paths_info(repo, ["README.md", "1_Pooling", "nothing"])],
    "exist": [api.file_exists(repo, "config.json"), api.file_exists(repo, "nothing"), api.repo_exists(repo),
              api.repo_exists("jobs/job_x"), api.revision_exists(repo, info.sha), api.revision_exists(repo, "v2")],
}))
"""


def test_the_api_finds_all_that_there_is(gateway: HubGateway, client: Client, repo: str, job_id: str) -> None:
    found = client.json(API, repo)
    commit = gateway.sha256(job_id)[:40]
    names = sorted(path.relative_to(model_folder()).as_posix() for path in model_folder().rglob("*") if path.is_file())
    names = [name for name in names if name not in (".gitattributes", "data_config.json")]
    assert (found["who"], found["private"], found["name"]) == ("here", True, f"{job_id}-mine")
    assert found["sha"] == found["head"] == commit
    assert (found["tag"], found["license"]) == ("feature-extraction", "apache-2.0")
    assert found["hash"] == hashlib.sha256((model_folder() / "config.json").read_bytes()).hexdigest()
    assert found["files"] == names
    assert found["tree"] == sorted({name.partition("/")[0] for name in names})
    assert found["beneath"] == ["1_Pooling/config.json"]
    assert found["paths"] == ["README.md", "1_Pooling"]
    assert found["exist"] == [True, False, True, False, True, False]


DOWNLOAD = """
import json, sys
from huggingface_hub import hf_hub_download, snapshot_download
repo, revision = sys.argv[1:]
print(json.dumps([hf_hub_download(repo, "config.json", revision=revision), snapshot_download(repo, revision=revision)]))
"""


def test_what_is_downloaded_is_kept_and_not_sent_again(
    gateway: HubGateway, client: Client, repo: str, job_id: str, model: Path
) -> None:
    config, snapshot = client.json(DOWNLOAD, repo, "main")
    commit = gateway.sha256(job_id)[:40]
    assert (Path(snapshot).name, Path(config).parent) == (commit, Path(snapshot))
    for path in model.rglob("*"):
        if path.is_file():
            assert (Path(snapshot) / path.relative_to(model)).read_bytes() == path.read_bytes()
    sent = gateway.sent()
    for revision in ("main", commit, gateway.sha256(job_id)):
        assert client.json(DOWNLOAD, repo, revision) == [config, snapshot]
    assert gateway.sent() == sent, "files were sent twice"
    assert client.json(DOWNLOAD, repo, "main", HF_HUB_OFFLINE="1") == [config, snapshot]


def test_a_download_that_breaks_off_goes_on_where_it_stopped(
    gateway: HubGateway, repo: str, model: Path, packages: Path | None, tmp_path: Path
) -> None:
    with cutting_relay(gateway.port, after=20 * 2**20) as port:
        client = Client(tmp_path / "home", f"http://127.0.0.1:{port}", gateway.key, packages)
        if packages is not None:  # it gives up, and goes on when it is started again
            client.python(DOWNLOAD, repo, "main", fails=True)
        _, snapshot = client.json(DOWNLOAD, repo, "main")
    weights = "model.safetensors"
    assert (Path(snapshot) / weights).read_bytes() == (model / weights).read_bytes()
    statuses = [status for path, status in gateway.gets() if path.endswith(weights) and repo in path]
    assert statuses[-2:] == [200, 206]


REFUSED = """
import sys
from huggingface_hub import hf_hub_download, snapshot_download
def told(call, *given, **named):
    try:
        call(*given, **named)
    except Exception as error:
        print(type(error).__name__, "|", " ".join(str(error).split()))
repo, gone, waits = sys.argv[1:]
told(hf_hub_download, repo, "nothing.bin")
told(hf_hub_download, repo, "config.json", revision="v2")
told(snapshot_download, repo, revision="v2")
for name in ("jobs/job_unknown", gone, waits, "gpt2"):
    told(hf_hub_download, name, "config.json")
    told(snapshot_download, name)
told(snapshot_download, repo, token=sys.stdin.readline().strip())
told(hf_hub_download, repo, "config.json", token="lc_wrong")
"""


@pytest.fixture(scope="module")
def gone(gateway: HubGateway, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job whose files are kept no longer."""
    files = tmp_path_factory.mktemp("gone")
    (files / "config.json").write_text("{}")
    job_id = gateway.deliver(files)
    with gateway.engine.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(expires_at=later(-1)))
    assert RetentionStore(gateway.engine).expire() == [job_id]
    return f"jobs/{job_id}"


def test_what_is_refused_is_told_in_the_clients_own_errors(
    gateway: HubGateway, client: Client, repo: str, gone: str
) -> None:
    waits = f"jobs/{gateway.queue()}"
    told = client.python(REFUSED, repo, gone, waits, stdin=gateway.other_key).splitlines()
    kinds = [line.partition(" | ")[0].removeprefix("Remote") for line in told]
    assert kinds[:3] == ["EntryNotFoundError", "RevisionNotFoundError", "RevisionNotFoundError"]
    assert kinds[3:12] == ["RepositoryNotFoundError"] * 9
    assert all("were kept until" in line for line in told[5:7])
    assert all("the job is queued" in line for line in told[7:9])
    assert all("the repositories here are jobs/" in line for line in told[9:11])
    assert kinds[12] == "HfHubHTTPError"
    assert "Invalid credentials" in told[12]


@pytest.mark.slow
def test_the_command_line_downloads_and_checks(gateway: HubGateway, repo: str, model: Path, tmp_path: Path) -> None:
    client = Client(tmp_path / "home", gateway.url, gateway.key)
    assert "here" in client.hf("auth", "whoami")
    client.hf("download", repo, "--local-dir", str(tmp_path / "model"), "--quiet")
    for path in model.rglob("*"):
        if path.is_file():
            assert (tmp_path / "model" / path.relative_to(model)).read_bytes() == path.read_bytes()
    client.hf("cache", "verify", repo, "--local-dir", str(tmp_path / "model"))
    (tmp_path / "model" / "config.json").write_text("{}")
    assert "config.json" in client.hf("cache", "verify", repo, "--local-dir", str(tmp_path / "model"), fails=True)


LOAD = """
import json, sys
import torch
from transformers import AutoModel, AutoTokenizer, pipeline
from sentence_transformers import SentenceTransformer
repo, folder = sys.argv[1:]
texts = ["a fine film", "the plot makes no sense"]
def states(name):
    model, tokenizer = AutoModel.from_pretrained(name), AutoTokenizer.from_pretrained(name)
    with torch.inference_mode():
        return model(**tokenizer(texts, padding=True, return_tensors="pt")).last_hidden_state
asked = pipeline(model=repo)
print(json.dumps({
    "states": torch.equal(states(repo), states(folder)), "task": asked.task,
    "pipeline": asked(texts) == pipeline("feature-extraction", model=folder)(texts),
    "vectors": bool((SentenceTransformer(repo).encode(texts) == SentenceTransformer(folder).encode(texts)).all()),
}))
"""


#: Whose pipeline it is for, a client asks the hub.
OFFLINE = LOAD.replace("pipeline(model=repo)", 'pipeline("feature-extraction", model=repo)')


@pytest.mark.slow
def test_models_load_by_name_as_from_their_folder_and_offline_afterwards(
    gateway: HubGateway, client: Client, repo: str, model: Path
) -> None:
    same = {"states": True, "task": "feature-extraction", "pipeline": True, "vectors": True}
    assert client.json(LOAD, repo, str(model)) == same
    sent = gateway.sent()
    assert client.json(OFFLINE, repo, str(model), HF_HUB_OFFLINE="1") == same
    assert gateway.sent() == sent, "files were sent twice"
