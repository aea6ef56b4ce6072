"""What only a CUDA device can show: `make test-gpu`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, PreTrainedModel

from api_schemas.architectures import ModelFacts
from api_schemas.recovery import Precision, Recovery, RecoverySpec, resolve_recovery
from api_schemas.task_kinds import TASK_KINDS
from api_schemas.training_memory import training_memory
from tests.support.tiny_models import build
from workers.checkpoints.checkpoint import Checkpoints
from workers.data.features import Features, Padding
from workers.evaluation.scores import answers_of
from workers.kinds.table import plain_kind
from workers.runtime.device import choose_device, choose_precision, describe
from workers.training.hooks import TrainingHooks
from workers.training.loop import train
from workers.training.memory_estimate import size_of
from workers.training.objectives.losses import label_objective
from workers.training.snapshot import weights_of
from workers.training.trainer_state import Step, TrainResult

CLASSES = TASK_KINDS["classification"]
KIND = plain_kind("classification", ("odd", "even"))

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

GPU, CPU = torch.device("cuda"), torch.device("cpu")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def features(rows: int, length: int, vocabulary: int) -> Features:
    """Rows of 5 to ``length`` tokens, the last one full; the label is whether the token after the first is even."""
    draw = np.random.default_rng(0)
    lengths = np.append(draw.integers(5, length, rows - 1), length)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = draw.integers(5, vocabulary, lengths.sum()).astype(np.int32)
    labels = (ids[offsets[:-1] + 1] % 2).astype(np.int64)
    return Features(ids, np.zeros(len(ids), dtype=np.int8), offsets, labels, Padding(0, 0, left=False))


def recovery(**asked: object) -> Recovery:
    spec = RecoverySpec.model_validate({"method": "finetune", "batch_size": 8, "learning_rate": 3e-3, **asked})
    return resolve_recovery(spec, ModelFacts(id="a/b", architecture="bert", layers=2, hidden_size=32), kind=CLASSES)


def fit(
    model: PreTrainedModel, rows: Features, asked: Recovery, hooks: TrainingHooks | None = None
) -> tuple[TrainResult, list[Step]]:
    steps: list[Step] = []
    objective = label_objective(KIND, rows, GPU)
    return train(KIND, model, rows, objective, asked, seed=3, device=GPU, on_step=steps.append, hooks=hooks), steps


def tiny() -> tuple[PreTrainedModel, Features]:
    model = build("bert", layers=2)
    return model.to(GPU), features(256, 32, model.config.vocab_size)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_it_learns_in_every_precision(precision: Precision) -> None:
    if precision == "bf16" and choose_precision("auto", GPU) != "bf16":
        pytest.skip("this GPU does not compute in bf16")
    model, rows = tiny()
    trained, steps = fit(model, rows, recovery(precision=precision, epochs=10))

    assert trained.precision == precision
    assert steps[-1].loss < 0.8 * steps[0].loss
    assert all(weight.dtype == torch.float32 and weight.isfinite().all() for weight in model.parameters())


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_resumed_training_ends_near_the_uninterrupted_one(tmp_path: Path, precision: Precision) -> None:
    asked = recovery(precision=precision, epochs=2)
    whole, rows = tiny()
    fit(whole, rows, asked)

    def hooks(attempt: int) -> TrainingHooks:
        kept = Checkpoints(tmp_path, attempt=attempt, every_seconds=0, provenance=dict, tell=lambda *_, **__: None)
        kept.stopping = attempt == 1  # as SIGTERM: a checkpoint after the first step, and out
        return TrainingHooks(slot=kept.slot("baseline-3"))

    broken, _ = tiny()
    with pytest.raises(SystemExit):
        fit(broken, rows, asked, hooks(1))
    resumed, _ = tiny()
    _, steps = fit(resumed, rows, asked, hooks(2))

    assert steps[0].number == 2
    for name, weight in weights_of(resumed).items():
        torch.testing.assert_close(weight, weights_of(whole)[name], rtol=1e-2, atol=1e-2)


def test_logits_are_those_of_the_cpu() -> None:
    model, rows = tiny()
    there = answers_of(KIND, model, rows, GPU)

    np.testing.assert_allclose(there, answers_of(KIND, model.to(CPU), rows, CPU), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_estimate_is_no_less_and_not_twice_what_a_training_takes(precision: Precision) -> None:
    model = BertForSequenceClassification(BertConfig()).to(GPU)
    rows = features(96, 128, model.config.vocab_size)
    rows = rows.take(np.argsort(rows.lengths)[-64:])
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    fit(model, rows, recovery(precision=precision, epochs=1, batch_size=32))

    peak = torch.cuda.max_memory_allocated()
    guess = training_memory(size_of(model, int(rows.lengths.max()), precision), 32).total
    assert peak <= guess <= 2 * peak


def test_a_gpu_is_found_by_its_uuid() -> None:
    uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"

    assert choose_device(uuid) == torch.device("cuda", 0)
    assert describe(choose_device(uuid)).float32_matmul == "highest"


def test_the_benchmark_of_a_large_shape_runs() -> None:
    command = [sys.executable, BENCHMARKS / "training.py", "--quick", "--shape", "bert-base"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)

    assert set(json.loads(done.stdout.splitlines()[-1])["bert-base"]) == {"usual", "tuned"}
