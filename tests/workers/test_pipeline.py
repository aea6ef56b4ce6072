"""Whole jobs in this process, on tiny models and small tables: what is told, and what is delivered."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from api_schemas.architectures import ARCHITECTURES
from api_schemas.errors import LayercutError
from api_schemas.events import EventType
from api_schemas.jobs import Stage
from tests.support.tiny_models import SENTENCES, tiny_model
from tests.support.whole_jobs import KIND, UNKIND, carry_out, own
from workers.settings import WorkerSettings
from workers.stages import resolve as resolve_stage
from workers.supervision.watchdog import Watchdog


def test_distillation_of_own_data_delivers_a_proved_model(
    tmp_path: Path, settings: WorkerSettings, table: Path
) -> None:
    model = tiny_model("bert", tmp_path / "source", head="base", layers=3)
    recovery = {"epochs": 20, "learning_rate": 0.001, "baseline_learning_rate": 0.001, "batch_size": 8}
    done = carry_out({"model": str(model), "task": own(table), "recovery": recovery, "suffix": "small"}, settings)

    report = done.report
    assert report.layers.kept == [0, 1]
    assert report.layers.dropped == [2]
    assert report.before.score == report.after.score == 100
    assert report.retention == 1
    assert report.verdict.startswith("undecided: 6 rows cannot tell; about ")
    assert report.verification.passed
    assert report.after.bytes < report.before.bytes
    assert report.recovery.method == "distill"
    assert set(report.training) == {"baseline", "recovering"}
    assert report.data.splits["train"].sha256 == hashlib.sha256(table.read_bytes()).hexdigest()

    assert done.stages(skipped=True) == ["scoring"]
    assert done.stages(skipped=False) == [s.value for s in Stage if s.value not in ("scoring", "publishing")]
    fractions = [event.data.fraction for event in done.events if event.type == EventType.PROGRESS]
    assert fractions == sorted(fractions)

    loaded = AutoModelForSequenceClassification.from_pretrained(done.folder)
    tokenizer = AutoTokenizer.from_pretrained(done.folder)
    inputs = tokenizer(list(KIND + UNKIND), padding=True, return_tensors="pt")
    answers = [loaded.config.id2label[int(label)] for label in loaded(**inputs).logits.argmax(1)]
    assert answers == ["kind"] * 3 + ["unkind"] * 3

    assert done.archive.name == "job_x-small.tar"
    with tarfile.open(done.archive) as archive:
        names = archive.getnames()
    assert {f"job_x-small/{path.name}" for path in done.folder.iterdir()} <= set(names)
    for line in (done.folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((done.folder / name).read_bytes()).hexdigest() == digest


@pytest.mark.slow
def test_finetuning_without_a_baseline_compares_with_nothing(
    tmp_path: Path, settings: WorkerSettings, table: Path
) -> None:
    model = tiny_model("distilbert", tmp_path / "source", head="masked_lm")
    body = {
        "model": str(model),
        "task": own(table, max_train_rows=20),
        "prune": {"strategy": "contribution", "drop": 3},
        "recovery": {"method": "finetune", "epochs": 1},
        "evaluation": {"baseline": False, "latency": {"batch_sizes": [], "sequence_lengths": []}},
    }
    done = carry_out(body, settings)
    assert done.report.before.score is None
    assert done.report.after.score is not None
    assert done.report.retention is None
    assert done.report.speedup is None
    assert "no baseline" in done.report.verdict
    assert done.report.data.splits["train"].rows == 20
    scores = done.report.strategy.importance
    free = sorted(range(1, 6), key=lambda layer: (-scores[layer], -layer))
    assert done.report.layers.dropped == sorted(free[:3])


@pytest.mark.slow
def test_a_number_to_predict_is_a_regression(tmp_path: Path, settings: WorkerSettings) -> None:
    table = tmp_path / "pairs.jsonl"
    rows = [{"a": SENTENCES[i % 8], "b": SENTENCES[(i * 3) % 8], "near": (i % 8) / 2} for i in range(40)]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = {"dataset": str(table), "text_columns": ["a", "b"], "label_column": "near", "metric": "spearman"}
    model = tiny_model("roberta", tmp_path / "source", head="base")
    done = carry_out({"model": str(model), "task": task, "recovery": {"epochs": 1}}, settings)
    assert AutoModelForSequenceClassification.from_pretrained(done.folder).config.num_labels == 1
    assert set(done.report.after.metrics) == {"spearman"}
    # 40 rows: the pruned model takes them 8 at a time, and the report says so.
    assert (done.report.recovery.batch_size, done.report.recovery.baseline_batch_size) == (8, 32)
    steps = {name: training.steps for name, training in done.report.training.items()}
    assert steps == {"baseline": 2, "recovering": 5}


@pytest.mark.parametrize("architecture", ["xlnet", pytest.param("albert", marks=pytest.mark.slow)])
def test_pruning_alone_changes_no_weight(architecture: str, tmp_path: Path, settings: WorkerSettings) -> None:
    source = tiny_model(architecture, tmp_path / "source", head="classification")
    body = {"model": str(source), "task": "none", "prune": {"strategy": "explicit", "drop_layers": [4, 1]}}
    done = carry_out(body, settings)
    row = ARCHITECTURES[architecture]
    before, after = load_file(source / "model.safetensors"), load_file(done.folder / "model.safetensors")
    for name, tensor in after.items():
        found = row.place(name)
        was = name
        if found and not row.shared_layers:
            was = f"{name[: found.start]}{[0, 2, 3, 5][found.layer]}{name[found.end :]}"
        assert torch.equal(tensor, before[was]), name
    assert done.report.after.score is None
    assert "not scored" in done.report.verdict
    assert done.stages(skipped=True) == ["baseline", "scoring", "recovering", "evaluating"]
    assert any("saves time and no size" in warning for warning in done.report.warnings) is row.shared_layers


@pytest.mark.slow
def test_every_tensor_of_the_file_is_copied_in_its_own_dtype(tmp_path: Path, settings: WorkerSettings) -> None:
    source = tiny_model("bert", tmp_path / "source", head="masked_lm", dtype=torch.bfloat16)
    tensors = load_file(source / "model.safetensors")
    tensors["bert.encoder.layer.3.output.LayerNorm.weight"] = torch.rand(32)
    tensors["cls.seq_relationship.weight"] = torch.rand(2, 32)  # the class has no place for it
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    done = carry_out({"model": str(source), "task": "none", "prune": {"strategy": "bottom", "drop": 2}}, settings)
    left = load_file(done.folder / "model.safetensors")
    assert left["bert.encoder.layer.1.output.LayerNorm.weight"].dtype == torch.float32
    assert torch.equal(left["cls.seq_relationship.weight"], tensors["cls.seq_relationship.weight"])
    assert len(left) == sum(not name.startswith(("bert.encoder.layer.0", "bert.encoder.layer.1")) for name in tensors)
    assert done.report.after.bytes == sum(tensor.nbytes for tensor in left.values())
    assert done.report.before.bytes == sum(tensor.nbytes for tensor in tensors.values())
    assert f"{len(left)} tensors have the original's bytes" in done.details()["tensors"]
    assert "cls.seq_relationship.weight" in done.details()["loads"]


@pytest.mark.slow
def test_another_dtype_is_not_a_copy(tmp_path: Path, settings: WorkerSettings) -> None:
    source = tiny_model("bert", tmp_path / "source", head="masked_lm")
    done = carry_out({"model": str(source), "task": "none", "export": {"dtype": "float16"}}, settings)
    assert {tensor.dtype for tensor in load_file(done.folder / "model.safetensors").values()} == {torch.float16}
    assert "tensors" not in done.details()


@pytest.mark.slow
def test_the_export_of_a_model_larger_than_memory_tells_how_far_it_is(
    tmp_path: Path, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What copies, hashes and runs through hundreds of gigabytes takes longer than a runner may tell of nothing."""
    monkeypatch.setattr(resolve_stage, "host_memory", lambda: 1000)
    monkeypatch.setattr("workers.stages.progress.PART_SECONDS", 0.0)
    model = tiny_model("bert", tmp_path / "source", head="masked_lm")
    done = carry_out({"model": str(model), "task": "none", "prune": {"drop": 2}}, settings)

    watchdog, exporting, totals = Watchdog(10), False, list[int]()
    for event in done.events:
        gets_further = watchdog._gets_further(event)
        if event.type == EventType.STAGE:
            exporting = event.data.stage == Stage.EXPORTING
        elif exporting:
            assert gets_further, "no two reports are alike"
            totals.append(event.data.total_steps)
    copied, hashed, run_through = sorted({total for total in totals if total is not None})
    assert copied == done.report.after.bytes < hashed - copied, "the bytes of the weights, then of all files"
    assert run_through - hashed == done.report.layers.total, "then the layers, on a pass"


@pytest.mark.slow
def test_a_model_larger_than_memory_is_copied_and_verified_but_not_timed(
    tmp_path: Path, settings: WorkerSettings, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tiny_model("electra", tmp_path / "source", dtype=torch.bfloat16)
    monkeypatch.setattr(resolve_stage, "host_memory", lambda: 1000)
    done = carry_out({"model": str(source), "task": own(table), "recovery": {"method": "none"}}, settings)
    report = done.report
    assert report.verification.passed
    assert {"loads", "tensors", "layers", "outputs"} <= done.details().keys()
    assert (report.before.latency, report.speedup, report.before.flops, report.before.score) == ([], None, None, None)
    assert report.after.parameters < report.before.parameters
    assert any("larger than the memory" in warning for warning in report.warnings)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["distill", pytest.param("finetune", marks=pytest.mark.slow)])
def test_the_best_epoch_by_held_out_training_rows_is_delivered(
    method: str, tmp_path: Path, settings: WorkerSettings, table: Path
) -> None:
    model = tiny_model("bert", tmp_path / "source", head="base", layers=3)
    recovery = {"method": method, "epochs": 4, "learning_rate": 0.001, "batch_size": 8, "checkpoint": "best"}
    done = carry_out({"model": str(model), "task": own(table), "recovery": recovery}, settings)
    training = done.report.training
    assert training["recovering"].best_epoch in (1, 2, 3, 4)
    assert 0 <= training["recovering"].best_score <= 100
    assert training["baseline"].best_epoch is None
    assert training["baseline"].word_embeddings
    assert training["recovering"].word_embeddings is (method == "finetune"), "distilling keeps the baseline's"
    assert training["recovering"].examples < training["baseline"].examples, "some rows judge"


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture", ["llama", *(pytest.param(name, marks=pytest.mark.long) for name in ("gpt2", "qwen2"))]
)
def test_a_decoder_becomes_a_classifier(
    architecture: str, tmp_path: Path, settings: WorkerSettings, table: Path
) -> None:
    """As they come: without a token for padding, and Llama's tokenizer pads on the left."""
    model = tiny_model(architecture, tmp_path / "source", head="causal_lm", layers=4)
    for name in ("config.json", "tokenizer_config.json"):
        path = model / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token": None, "pad_token_id": None}))
    prune = {"strategy": "contribution", "drop": 1}
    recovery = {"epochs": 12, "learning_rate": 0.002, "baseline_learning_rate": 0.002, "batch_size": 8}
    done = carry_out({"model": str(model), "task": own(table), "prune": prune, "recovery": recovery}, settings)

    assert done.report.strategy.protected == [0, 3]
    assert done.report.verification.passed
    said = {check.name: check.detail for check in done.report.verification.checks}
    assert "two texts in one batch" in said["padding"]
    assert done.report.after.score > 90
    loaded = AutoModelForSequenceClassification.from_pretrained(done.folder)
    tokenizer = AutoTokenizer.from_pretrained(done.folder)
    assert loaded.config.pad_token_id == tokenizer.pad_token_id is not None
    assert tokenizer.padding_side == "right"
    together = loaded(**tokenizer([*KIND, *UNKIND], padding=True, return_tensors="pt")).logits
    alone = torch.cat([loaded(**tokenizer(text, return_tensors="pt")).logits for text in KIND + UNKIND])
    torch.testing.assert_close(together, alone)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("saved", "drop", "kept"),
    [
        (("gemma3_text", "causal_lm"), [2, 3], [0, 1, 4, 5]),
        (("t5", "seq2seq_lm"), {"encoder": [0, 4], "decoder": [0]}, [1, 2, 3, 5, 7, 8, 9, 10, 11]),
        pytest.param(
            ("bart", "classification"), {"decoder": [1, 5]}, [0, 1, 2, 3, 4, 5, 6, 8, 9, 10], marks=pytest.mark.slow
        ),
    ],
)
def test_what_generates_is_pruned_without_a_task(
    saved: tuple[str, str], drop: Any, kept: list[int], tmp_path: Path, settings: WorkerSettings
) -> None:
    architecture, head = saved
    source = tiny_model(architecture, tmp_path / "source", head=head, labels=3)
    prune = {"strategy": "explicit", "drop_layers": drop}
    done = carry_out({"model": str(source), "task": "none", "prune": prune}, settings)
    assert done.report.layers.kept == kept
    said = {check.name: check.detail for check in done.report.verification.checks}
    assert done.report.verification.passed
    assert ("20 tokens" in said["generates"]) is (head != "classification")
    if isinstance(drop, dict):
        assert done.report.layers.stacks is not None
        assert done.report.layers.stacks["decoder"].dropped == drop["decoder"]
        assert said["layers"].endswith(f"{6 - len(drop.get('encoder', []))} and {6 - len(drop['decoder'])} were kept")
    card = (done.folder / "README.md").read_text()
    tags = {"gemma3_text": "text-generation", "t5": "text2text-generation", "bart": "text-classification"}
    assert f"pipeline_tag: {tags[architecture]}" in card
    before, after = AutoTokenizer.from_pretrained(source), AutoTokenizer.from_pretrained(done.folder)
    assert (before.padding_side, before.pad_token) == (after.padding_side, after.pad_token)


def test_an_encoder_decoder_is_not_trained_on_a_task(tmp_path: Path, settings: WorkerSettings, table: Path) -> None:
    model = tiny_model("t5", tmp_path / "source", head="seq2seq_lm")
    with pytest.raises(LayercutError, match="encoder-decoder") as caught:
        carry_out({"model": str(model), "task": own(table)}, settings)
    assert (caught.value.code, caught.value.param) == ("unsupported_architecture", "/task")


@pytest.mark.slow
def test_a_trained_classifier_is_scored_without_training(tmp_path: Path, settings: WorkerSettings, table: Path) -> None:
    source = tiny_model("electra", tmp_path / "source", head="classification")
    task = own(table, labels=["kind", "unkind"])
    done = carry_out({"model": str(source), "task": task, "recovery": {"method": "none"}}, settings)
    assert done.report.before.score is not None
    assert done.report.after.score is not None
    assert done.report.training == {}


@pytest.mark.parametrize(("threshold", "words"), [(2.0, "no layer"), (-2.0, "every layer")])
def test_a_threshold_that_selects_nothing_or_all(
    threshold: float, words: str, tmp_path: Path, settings: WorkerSettings, table: Path
) -> None:
    source = tiny_model("bert", tmp_path / "source")
    prune = {"strategy": "contribution", "threshold": threshold}
    with pytest.raises(LayercutError, match=f"{words}.*importance is 0: ") as caught:
        carry_out({"model": str(source), "task": own(table), "prune": prune, "recovery": {"method": "none"}}, settings)
    assert caught.value.param == "/prune/threshold"
