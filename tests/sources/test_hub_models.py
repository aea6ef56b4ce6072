"""Models of the hub, through the hub's own client, against a server of our own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, hf_hub_download
from safetensors.numpy import save

from api_schemas.errors import LayercutError
from api_schemas.pruning import PruneSpec
from api_schemas.requests import JobRequest, ModelRef
from api_schemas.resolved import resolve
from sources.model_folder import folder_of, read_facts
from sources.models import fetch, inspect
from sources.settings import SourceSettings
from sources.staging import fetch_pinned
from tests.support.hub_server import HubServer
from tests.support.tiny_checkpoints import PER_LAYER, WIDTH, bert_config, bert_files, bert_tensors

ID = "acme/tiny-bert"
REF = ModelRef(id=ID)
SETTINGS = SourceSettings(hub_timeout_seconds=5)


def asked_for(hub: HubServer) -> set[str]:
    return {path.rsplit("/", 1)[-1] for _, path in hub.requests if "/resolve/" in path}


def test_a_model_is_known_from_its_config_and_header_alone(hub: HubServer) -> None:
    repo = hub.add(ID, bert_files(3), license="apache-2.0")
    facts = inspect(REF, SETTINGS)
    assert facts is not None
    assert (facts.id, facts.revision, facts.license) == (ID, repo.commit, "apache-2.0")
    assert facts.parameters_per_layer == [PER_LAYER] * 3
    assert facts.parameters == 3 * PER_LAYER + 11 * WIDTH
    assert facts.bytes == len(repo.files["model.safetensors"])
    assert not (Path(constants.HF_HUB_CACHE)).exists(), "nothing was downloaded"


def test_a_fetched_model_has_what_is_needed_and_nothing_else(hub: HubServer) -> None:
    files = {**bert_files(3), "README.md": b"---\nlicense: mit\n---\n"}
    unwanted = {"pytorch_model.bin": b"x", "modeling_evil.py": b"x", "onnx/model.onnx": b"x", "onnx/config.json": b"{}"}
    repo = hub.add(ID, {**files, **unwanted})
    folder = fetch(REF, SETTINGS)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    facts = read_facts(folder_of(folder, REF.id), REF)
    assert (facts.revision, facts.license, facts.layers) == (repo.commit, "mit", 3)


def test_what_was_fetched_works_without_the_hub(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = hub.add(ID, bert_files())
    folder = fetch(REF, SETTINGS)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(REF, SETTINGS) == folder
    facts = inspect(REF, SETTINGS)
    assert facts is not None
    assert facts.revision == repo.commit
    assert hub.requests == []


def test_offline_and_not_cached_is_unknown_to_the_gateway_and_an_error_to_the_runner(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(ID, bert_files())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert inspect(REF, SETTINGS) is None
    with pytest.raises(LayercutError, match="HF_HUB_OFFLINE is set") as caught:
        fetch(REF, SETTINGS)
    assert caught.value.code == "hub_unavailable"
    assert hub.requests == []


def test_a_cache_with_a_part_of_the_model_is_as_good_as_none(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(ID, bert_files())
    hf_hub_download(ID, "config.json")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert inspect(REF, SETTINGS) is None


def test_a_hub_that_is_not_there(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://user:secret@127.0.0.1:9")
    assert inspect(REF, SETTINGS) is None
    with pytest.raises(LayercutError, match="hub does not answer") as caught:
        fetch(REF, SETTINGS)
    assert caught.value.kind.retryable
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("stalled", ["/api/models", "config.json"])
def test_a_hub_that_does_not_answer_in_time_is_not_waited_for(hub: HubServer, stalled: str) -> None:
    hub.add(ID, bert_files())
    hub.stalled = re.compile(stalled)
    assert inspect(REF, SETTINGS, timeout=0.3) is None


def test_a_hub_that_is_broken_is_as_good_as_none(hub: HubServer) -> None:
    hub.add(ID, bert_files())
    hub.broken = re.compile("/api/models")
    assert inspect(REF, SETTINGS) is None
    with pytest.raises(LayercutError, match="500 Internal Server Error") as caught:
        fetch(REF, SETTINGS)
    assert caught.value.code == "hub_unavailable"


def test_weights_that_come_too_late_leave_the_config(hub: HubServer) -> None:
    hub.add(ID, bert_files(3))
    hub.stalled = re.compile("safetensors")
    facts = inspect(REF, SETTINGS, timeout=0.5)
    assert facts is not None
    assert (facts.layers, facts.parameters, facts.parameters_per_layer) == (3, None, None)


def test_shards(hub: HubServer) -> None:
    name = "model-00001-of-00001.safetensors"
    index = json.dumps({"weight_map": dict.fromkeys(bert_tensors(2), name)}).encode()
    files = {"config.json": json.dumps(bert_config(2)).encode(), "model.safetensors.index.json": index}
    hub.add(ID, files)
    with pytest.raises(LayercutError, match=f"lists '{name}', which is not there"):
        inspect(REF, SETTINGS)
    hub.add(ID, {**files, name: save(bert_tensors(2))})
    facts = inspect(REF, SETTINGS)
    assert facts is not None
    assert facts.parameters_per_layer == [PER_LAYER] * 2
    assert read_facts(folder_of(fetch(REF, SETTINGS), REF.id), REF).parameters == facts.parameters


def test_a_header_longer_than_the_first_request(hub: HubServer) -> None:
    tensors = bert_tensors(3)
    tensors.update({f"cls.{'x' * 200}.{number}": tensors["embeddings.word_embeddings.weight"] for number in range(600)})
    hub.add(ID, {**bert_files(3), "model.safetensors": save(tensors)})
    facts = inspect(REF, SETTINGS)
    assert facts is not None
    assert facts.parameters == 3 * PER_LAYER + 601 * 11 * WIDTH


REMOTE_CODE = {"auto_map": {"AutoModel": "modeling.Evil"}}
PICKLE = {"config.json": bert_files()["config.json"], "pytorch_model.bin": b"x", "extra/model.bin": b"x"}


@pytest.mark.parametrize(
    ("files", "code", "text"),
    [
        (None, "model_not_found", "the hub has no model 'acme/tiny-bert'"),
        (bert_files(**REMOTE_CODE), "model_not_allowed", "remote code"),
        (PICKLE, "model_invalid", r"pickle weights only \(pytorch_model\.bin\)"),
        (bert_files(model_type="mamba"), "unsupported_architecture", "supported: bert"),
        ({"README.md": b""}, "model_invalid", "no config.json"),
        ({**bert_files(), "tokenizer_config.json": b'{"vocab": "/etc/passwd"}'}, "model_not_allowed", "vocab"),
        ({**bert_files(), "generation_config.json": b'{"x_file": "y"}'}, "model_not_allowed", "x_file"),
        (bert_files(transformers_weights="adapter_model.bin"), "model_not_allowed", "transformers_weights"),
        (bert_files(num_labels=10**9), "model_invalid", "num_labels"),
        ({**bert_files(), "config.json": b"{"}, "model_invalid", "config.json is not JSON"),
        (bert_files(layers=2, num_hidden_layers=5), "model_invalid", "says 5 layers"),
    ],
)
def test_a_model_that_cannot_work_is_refused_before_its_weights_are_fetched(
    hub: HubServer, files: dict[str, bytes] | None, code: str, text: str
) -> None:
    if files is not None:
        hub.add(ID, files)
    with pytest.raises(LayercutError, match=text) as caught:
        inspect(REF, SETTINGS)
    assert (caught.value.code, caught.value.param) == (code, "/model")
    if code == "model_invalid" and "layers" in text:
        return  # seen in the weights' header only
    hub.requests.clear()
    with pytest.raises(LayercutError, match=text):
        fetch(REF, SETTINGS)
    assert asked_for(hub) <= {"config.json", "tokenizer_config.json", "generation_config.json"}


def test_a_broken_header_is_the_models_fault(hub: HubServer) -> None:
    hub.add(ID, {**bert_files(), "model.safetensors": b"\xff" * 200})
    with pytest.raises(LayercutError, match=r"model\.safetensors is truncated or no .* it has 200") as caught:
        inspect(REF, SETTINGS)
    assert caught.value.code == "model_invalid"


def test_a_gated_model_opens_with_a_token(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(ID, bert_files(), token="hf_right")
    for call in (inspect, fetch):
        with pytest.raises(LayercutError, match=r"is gated: .*HF_TOKEN") as caught:
            call(REF, SETTINGS)
        assert caught.value.code == "model_not_allowed"
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(LayercutError, match="is gated") as caught:
        inspect(REF, SETTINGS)
    assert "hf_wrong" not in caught.value.message
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert inspect(REF, SETTINGS) is not None
    assert fetch(REF, SETTINGS).is_dir()


def test_a_revision_is_followed_and_a_missing_one_named(hub: HubServer) -> None:
    repo = hub.add(ID, bert_files())
    facts = inspect(ModelRef(id=ID, revision=repo.commit), SETTINGS)
    assert facts is not None
    assert facts.revision == repo.commit
    for call in (inspect, fetch):
        with pytest.raises(LayercutError, match="no revision 'v2'") as caught:
            call(ModelRef(id=ID, revision="v2"), SETTINGS)
        assert (caught.value.code, caught.value.param) == ("model_not_found", "/model/revision")


def test_the_environment_chooses_the_hub_and_nothing_heavy_is_imported(hub: HubServer, tmp_path: Path) -> None:
    hub.add(ID, bert_files(3))
    program = (
        "import sys\n"
        "import sources.tasks\n"
        "from sources.models import ModelRef, SourceSettings, fetch, inspect\n"
        f"facts = inspect(ModelRef(id={ID!r}), SourceSettings())\n"
        f"print(facts.layers, fetch(ModelRef(id={ID!r}), SourceSettings()))\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    env: dict[str, Any] = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"3 {tmp_path / 'home'}/hub/models--acme--tiny-bert/snapshots/")


def test_what_cannot_work_is_refused_before_its_weights_are_fetched(hub: HubServer) -> None:
    """The hub did not answer when the job was asked for: nothing was resolved then."""
    hub.add(ID, bert_files(3))
    asked = JobRequest.model_validate({"model": ID, "task": "none", "prune": {"drop": 5}})
    with pytest.raises(LayercutError, match="has 3 layers") as caught:
        fetch_pinned(asked, resolve(asked, None), SETTINGS)
    assert (caught.value.code, caught.value.param) == ("invalid_layers", "/prune/drop")
    assert not Path(constants.HF_HUB_CACHE).exists(), "nothing was downloaded"
    works = asked.model_copy(update={"prune": PruneSpec(drop=1)})
    assert (fetch_pinned(works, resolve(works, None), SETTINGS) / "model.safetensors").is_file()
