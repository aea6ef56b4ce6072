"""Whole jobs on sentence-transformers folders: what is delivered is what stock sentence-transformers is to load."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from demo.samples import copy_model
from tests.support.embedding_models import NORMALIZE, TEXTS, cut_by_hand, distance, embedding_model, write_json
from tests.support.processes import eventually
from tests.support.serve_process import served
from tests.support.tiny_models import tiny_model
from tests.support.whole_jobs import Delivered, carry_out, own
from workers.export.verification.embedding_checks import load_embedding_model
from workers.settings import WorkerSettings

pytestmark = pytest.mark.slow

FILES = {"modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "config_sentence_transformers.json"}


def pruned(source: Path, settings: WorkerSettings, **more: Any) -> Delivered:
    body = {"model": str(source), "task": "none", "prune": {"strategy": "top", "drop": 2}}
    latency = {"evaluation": {"latency": {"batch_sizes": [], "sequence_lengths": []}}}
    return carry_out({**body, **latency, **more}, settings)


def test_pooling_prompts_and_longest_input_are_those_of_the_source(tmp_path: Path, settings: WorkerSettings) -> None:
    """The field's case: CLS pooling, Normalize, max_seq_length 16, prompts; top 2 of 6."""
    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": None}
    source = embedding_model(tmp_path / "source", NORMALIZE, settings=prompts)
    # As all-MiniLM has it; the modules ask for something else.
    cuts = Tokenizer.from_file(str(source / "tokenizer.json"))
    cuts.enable_truncation(12)
    cuts.enable_padding(length=12)
    cuts.save(str(source / "tokenizer.json"))
    done = pruned(source, settings)
    assert done.report.verification.passed
    assert done.details()["sentence_transformers"].startswith("Transformer, Pooling, Normalize: largest difference")
    assert done.report.warnings == []
    loaded = load_embedding_model(str(done.folder), torch.float32)
    assert [type(module).__name__ for module in loaded] == ["Transformer", "Pooling", "Normalize"]
    assert loaded.max_seq_length == 16
    assert loaded.prompts["query"] == "query: "
    expected = cut_by_hand(source, [0, 1, 2, 3])
    assert distance(done.folder, expected) < 1e-5
    assert distance(done.folder, expected, prompt_name="query") < 1e-5
    assert torch.allclose(loaded.encode(TEXTS, convert_to_tensor=True).norm(dim=1), torch.ones(len(TEXTS)))
    with tarfile.open(done.archive) as archive:
        assert {f"job_x/{name}" for name in FILES} <= set(archive.getnames())
    sums = (done.folder / "SHA256SUMS").read_text().splitlines()
    assert {line.split("  ")[1] for line in sums} >= FILES
    assert "library_name: sentence-transformers" in (done.folder / "README.md").read_text()


@pytest.mark.slow
def test_a_classifier_trained_from_one_leaves_them_out_and_says_so(
    tmp_path: Path, settings: WorkerSettings, table: Path
) -> None:
    source = embedding_model(tmp_path / "source", NORMALIZE)
    # Which would be refused of a folder that stays one.
    listed = json.loads((source / "modules.json").read_text())
    write_json(source / "modules.json", [*listed, {**listed[1], "type": "sentence_transformers.models.LSTM"}])
    recovery = {"method": "finetune", "epochs": 1}
    more = {"recovery": recovery, "evaluation": {"baseline": False}, "prune": {"strategy": "top", "drop": 4}}
    done = carry_out({"model": str(source), "task": own(table), **more}, settings)
    assert any("what is delivered is a model with a head" in warning for warning in done.report.warnings)
    assert done.details()["sentence_transformers"] == "not a sentence-transformers folder"
    assert not FILES & {path.relative_to(done.folder).as_posix() for path in done.folder.rglob("*")}
    assert "library_name: transformers" in (done.folder / "README.md").read_text()


@pytest.mark.slow
def test_a_longest_input_beyond_the_models_positions_is_told(tmp_path: Path, settings: WorkerSettings) -> None:
    done = pruned(embedding_model(tmp_path / "source", max_seq_length=512), settings)
    (warning,) = done.report.warnings
    assert "max_seq_length is 512 and the model has 64 positions" in warning


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["as packaged", "cls"])
@pytest.mark.parametrize("dtype", ["auto", "float16"])
def test_the_packaged_minilm(pooling: str, dtype: str, tmp_path: Path, settings: WorkerSettings) -> None:
    source = tmp_path / "source"
    copy_model(source)
    if pooling == "cls":
        cls = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
        write_json(source / "1_Pooling" / "config.json", {"word_embedding_dimension": 384, **cls})
    done = pruned(source, settings, export={"dtype": dtype})
    assert done.report.verification.passed
    loaded = load_embedding_model(str(done.folder), torch.float32)
    assert loaded.max_seq_length == 256
    texts = [*TEXTS, " ".join(TEXTS * 12)]
    assert distance(done.folder, cut_by_hand(source, [0, 1, 2, 3]), texts) < (1e-5 if dtype == "auto" else 1e-3)


@pytest.mark.long
@pytest.mark.slow
def test_through_the_service_a_folder_comes_back_as_one(tmp_path: Path) -> None:
    source = embedding_model(tmp_path / "models" / "source", NORMALIZE)
    with served(tmp_path, model_roots=source.parent, device="cpu") as server:
        latency = {"latency": {"batch_sizes": [], "sequence_lengths": []}}
        body = {"model": str(source), "task": "none", "prune": {"strategy": "top", "drop": 2}, "evaluation": latency}
        job = server.client.post("/v1/jobs", json=body).json()
        address = job["urls"]["self"]
        eventually(lambda: server.client.get(address).json()["status"] in ("succeeded", "failed"), seconds=240)
        assert server.client.get(address).json()["error"] is None
        folder = tmp_path / "delivered"
        for file in server.client.get(f"{address}/files").json()["data"]:
            (folder / file["name"]).parent.mkdir(parents=True, exist_ok=True)
            (folder / file["name"]).write_bytes(server.client.get(file["url"]).content)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*")} >= FILES
    assert distance(folder, cut_by_hand(source, [0, 1, 2, 3])) < 1e-5


@pytest.mark.slow
def test_a_plain_folder_is_delivered_as_before(tmp_path: Path, settings: WorkerSettings) -> None:
    done = pruned(tiny_model("bert", tmp_path / "source", head="base"), settings)
    assert done.details()["sentence_transformers"] == "not a sentence-transformers folder"
    assert done.report.model.modules is None
