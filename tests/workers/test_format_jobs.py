"""Whole jobs that deliver further formats: each has its own score, size and speed, and what it loses is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoConfig, AutoModel, AutoTokenizer

from api_schemas.errors import LayercutError
from api_schemas.events import NewEvent, StageData
from api_schemas.formats import FORMATS
from demo.samples import copy_model
from tests.support.embedding_models import NORMALIZE, embedding_model
from tests.support.graphs import change_output
from tests.support.tiny_models import tiny_model
from tests.support.whole_jobs import KIND, UNKIND, carry_out, own
from workers.export.formats.session import OnnxModel
from workers.export.verification.embedding_checks import load_embedding_model
from workers.export.verification.format_checks import check_format
from workers.export.verify import asked_of, save_probe
from workers.settings import WorkerSettings
from workers.stages import formats

ALL = ["onnx", "onnx-int8", "onnx-bf16"]
LEARN = {"method": "finetune", "epochs": 12, "learning_rate": 0.001, "baseline_learning_rate": 0.001, "batch_size": 8}


@pytest.mark.slow
def test_each_format_of_a_classifier_is_proved_scored_and_timed(
    tmp_path: Path, settings: WorkerSettings, table: Path
) -> None:
    model = tiny_model("distilbert", tmp_path / "source", head="base", layers=2)
    body = {"model": str(model), "task": own(table), "recovery": LEARN, "export": {"formats": ALL}}
    done = carry_out({**body, "prune": {"drop": 1}}, settings)
    report = done.report
    assert [row.name for row in report.formats] == list(FORMATS)
    assert set(ALL) < set(done.details())
    plain, *others = report.formats
    assert (plain.score, plain.bytes) == (report.after.score, (done.folder / "model.safetensors").stat().st_size)
    for row in others:
        assert row.files == [FORMATS[row.name].file]
        assert row.bytes == (done.folder / row.files[0]).stat().st_size
        assert row.metrics.keys() == report.after.metrics.keys()
        assert [cell.runs > 0 for cell in row.latency] == [True]
    # What was learnt is so plain that no rounding changes it.
    assert {row.score for row in report.formats} == {100.0}
    assert not [text for text in report.warnings if "onnx" in text]
    tokenizer = AutoTokenizer.from_pretrained(done.folder)
    session = OnnxModel(done.folder / "onnx/model_int8.onnx", AutoConfig.from_pretrained(done.folder))
    answers = session(**tokenizer(list(KIND + UNKIND), padding=True, return_tensors="pt")).logits.argmax(1)
    assert answers.tolist() == [0, 0, 0, 1, 1, 1]
    card = ModelCard.load(done.folder / "README.md")
    assert "onnx" in card.data.tags
    assert "| onnx-int8 | onnx/model\\_int8.onnx | " in card.text
    assert "onnx/model.onnx" in (done.folder / "SHA256SUMS").read_text()


def test_what_a_format_loses_is_told_in_numbers() -> None:
    whole = formats.FormatReport(
        name="safetensors", files=[], bytes=1, score=91.5, device=formats.describe(formats.CPU)
    )
    small = whole.model_copy(update={"name": "onnx-int8", "score": 88.1})
    said = formats.lost(whole, small, margin=0.01)
    assert said is not None
    assert said.startswith("onnx-int8 scores 88.10, 3.40 points less than safetensors (91.50), and 0.92 may be lost")
    assert formats.lost(whole, small, margin=0.05) is None
    assert formats.lost(whole, whole.model_copy(update={"score": 99.0}), margin=0.01) is None
    none = small.model_copy(update={"score": None, "undefined": {"f1": "every row is of one label"}})
    assert "has no score, where safetensors has 91.50: every row is of one label" in str(
        formats.lost(whole, none, 0.01)
    )
    assert formats.lost(small.model_copy(update={"score": None}), small, margin=0.01) is None


def stages(told: list[NewEvent]) -> list[str]:
    """That have begun."""
    return [event.data.stage.value for event in told if isinstance(event.data, StageData)]


def test_a_worker_without_the_extra_says_so_before_it_works(
    tmp_path: Path, settings: WorkerSettings, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("bert", tmp_path / "source", head="base", layers=2)
    body: dict[str, Any] = {"model": str(model), "task": own(table), "export": {"formats": ["onnx"]}}
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(LayercutError, match=r"this worker cannot write onnx: it needs layercut\[onnx\]") as caught:
        carry_out(body, settings, told := [])
    assert (caught.value.code, caught.value.param) == ("format_unavailable", "/export/formats")
    assert stages(told) == ["resolving"]


def test_a_model_that_there_is_no_room_for_is_refused_before_the_training(
    tmp_path: Path, settings: WorkerSettings, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("bert", tmp_path / "source", head="base", layers=2)
    monkeypatch.setattr(formats, "host_memory", lambda: 1000)
    with pytest.raises(LayercutError, match=r"onnx takes about 0.0 GB of memory to make of this model") as caught:
        carry_out({"model": str(model), "task": own(table), "export": {"formats": ["onnx"]}}, settings, told := [])
    assert caught.value.code == "export_failed"
    assert stages(told) == ["resolving"]


@pytest.mark.slow
def test_the_graph_of_an_embedding_model_makes_its_vectors(tmp_path: Path, settings: WorkerSettings) -> None:
    source = embedding_model(tmp_path / "source", NORMALIZE)
    done = carry_out(
        {"model": str(source), "task": "none", "export": {"formats": ["onnx"]}, "prune": {"drop": 4}}, settings
    )
    assert "of its vectors" in done.details()["onnx"]
    stock = load_embedding_model(str(done.folder), torch.float32)
    texts = ["a text", "another one, which is longer"]
    session = OnnxModel(done.folder / "onnx/model.onnx", stock[0].model.config)
    as_read = {"padding": True, "truncation": True, "max_length": stock.max_seq_length, "return_tensors": "pt"}
    found = session(**AutoTokenizer.from_pretrained(done.folder)(texts, **as_read))
    assert list(found) == ["last_hidden_state", "sentence_embedding"]
    assert torch.allclose(found.sentence_embedding, stock.encode(texts, convert_to_tensor=True), atol=1e-5)
    assert 'backend="onnx"' in (done.folder / "README.md").read_text()


@pytest.mark.long
@pytest.mark.slow
@torch.inference_mode()
def test_vectors_that_are_zero_of_another_direction_or_length_are_found(
    tmp_path: Path, settings: WorkerSettings
) -> None:
    """Those of unit length have numbers that are all small."""
    source = embedding_model(tmp_path / "source", NORMALIZE)
    asked_for = ["onnx-int8", "onnx-bf16"]
    done = carry_out(
        {"model": str(source), "task": "none", "export": {"formats": asked_for}, "prune": {"drop": 4}}, settings
    )
    model, tokenizer = AutoModel.from_pretrained(done.folder), AutoTokenizer.from_pretrained(done.folder)
    inputs = dict(tokenizer(list(KIND), padding=True, return_tensors="pt"))
    asked = {
        "folder": str(done.folder),
        "probe": str(save_probe(model, inputs, tmp_path / "probe.safetensors")),
        "embeddings": {"texts": list(KIND + UNKIND)},
    }
    for name in asked_for:
        path, row = done.folder / FORMATS[name].file, asked_of(FORMATS[name])
        good = path.read_bytes()
        right, said = check_format(row, asked, lambda: (model, None))
        assert right, said
        for change in (("Sub", 2), ("Neg", 1), ("Add", 2)):
            change_output(path, "sentence_embedding", *change)
            right, said = check_format(row, asked, lambda: (model, None))
            assert not right, (name, change, said)
            assert "of its vectors" in said
            path.write_bytes(good)


@pytest.mark.slow
@pytest.mark.long
def test_real_numbers_of_a_real_model(tmp_path: Path, settings: WorkerSettings) -> None:
    """all-MiniLM-L6-v2 without its last layer, as it is cut: what each format costs, on this machine."""
    copy_model(tmp_path / "MiniLM")
    text = tmp_path / "texts.csv"
    lines = (f"{KIND[row % 3]} and {UNKIND[row % 3]}: number {row}" for row in range(200))
    text.write_text("text\n" + "\n".join(f'"{line}"' for line in lines))
    task = {"dataset": str(text), "text_columns": ["text"], "kind": "embedding"}
    body = {"model": str(tmp_path / "MiniLM"), "task": task, "recovery": {"method": "none"}, "prune": {"drop": 1}}
    done = carry_out({**body, "export": {"formats": ALL}}, settings)
    rows = {row.name: row for row in done.report.formats}
    print({name: (row.score, row.bytes, row.latency[0].p50_ms) for name, row in rows.items()}, done.report.warnings)
    plain = rows["safetensors"]
    assert plain.score is not None
    assert rows["onnx"].score == pytest.approx(plain.score, abs=0.01)
    assert rows["onnx-bf16"].score == pytest.approx(plain.score, abs=0.5)
    assert rows["onnx-int8"].bytes < 0.3 * plain.bytes
    assert rows["onnx-bf16"].bytes < 0.55 * plain.bytes
    assert (rows["onnx-int8"].score or 0) > 0.9 * plain.score
