"""Memory that runs out and losses that come apart: what is tried, what is told, and what stays the same."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from api_schemas.errors import LayercutError
from tests.support.tiny_models import build
from tests.support.trainings import CPU, KIND, RECOVERY, Killed, Run, assert_same, features_of, weights
from workers.data.batches import RowIndexes, collate
from workers.training.compact_embedding import compact_vocabulary
from workers.training.hooks import TrainingHooks
from workers.training.loop import train
from workers.training.micro_batches import Accumulator, MicroBatches
from workers.training.objectives.losses import StudentOutput, label_objective, unaltered
from workers.training.optimizer import Stepper
from workers.training.trainer_state import Step, TrainResult

CPU_WORDS = "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate"
ERRORS: dict[str, Callable[[], Exception]] = {
    "gpu": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "cpu": lambda: RuntimeError(CPU_WORDS),
    "windows": lambda: RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8589934592 bytes."),
    "python": MemoryError,
}


def small_memory(model: PreTrainedModel, rows: int, error: Callable[[], Exception] = ERRORS["gpu"]) -> PreTrainedModel:
    """The model on a device that holds no more than ``rows`` rows, and notices in the middle of the forward pass."""

    def refuse(_: nn.Module, __: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        if len(hidden) > rows:
            raise error()

    model.bert.embeddings.register_forward_hook(refuse)
    return model


def still(**config: Any) -> PreTrainedModel:
    """Without dropout: its masks are drawn for each part, so only without it are two ways of cutting comparable."""
    return build("bert", layers=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **config)


def fit(model: PreTrainedModel, hooks: TrainingHooks, **changes: Any) -> tuple[TrainResult, list[Step]]:
    features, steps = features_of("bert"), []
    recovery = RECOVERY.model_copy(update={"weight_decay": 0.01, **changes})
    objective = label_objective(KIND, features, CPU)
    trained = train(KIND, model, features, objective, recovery, seed=3, device=CPU, on_step=steps.append, hooks=hooks)
    return trained, steps


@pytest.mark.parametrize("kind", ERRORS)
def test_a_batch_that_does_not_fit_is_computed_in_parts_with_the_same_result(kind: str) -> None:
    whole, cut = still(), small_memory(still(), 3, ERRORS[kind])
    _, wanted = fit(whole, TrainingHooks(), epochs=2)
    warnings: list[str] = []
    trained, steps = fit(cut, TrainingHooks(on_warning=warnings.append), epochs=2)

    assert trained.micro_batch == 2
    assert [step.number for step in steps] == [step.number for step in wanted]
    assert [step.loss for step in steps] == pytest.approx([step.loss for step in wanted], abs=1e-4)
    for name, weight in cut.state_dict().items():
        # A key's bias changes no attention: its gradient is rounding alone, and Adam makes whole steps of that.
        assert "key.bias" in name or torch.allclose(weight, whole.state_dict()[name], atol=2e-4), name
    assert [words for words in warnings if "memory ran out" in words] == warnings
    assert [words.split(" rows at a time")[0][-1] for words in warnings] == ["4", "2"]


def test_gradients_of_unequal_parts_are_those_of_the_batch() -> None:
    """Eight rows three at a time: the last part has two, and must not weigh as three."""
    features, batch = features_of("bert"), np.arange(8)
    found: list[dict[str, Tensor]] = []
    for rows in (8, 3):
        model = still()
        with compact_vocabulary(model, features, trained=True) as embedding:
            stepper = Stepper(model, embedding, RECOVERY, total=1, device=CPU, precision="fp32")
            objective = label_objective(KIND, features, CPU)

            def loss_of(part: npt.NDArray[np.int64]) -> Tensor:
                inputs = collate(features, part, CPU)
                student = StudentOutput(inputs, model(**inputs).logits, ())  # noqa: B023
                return objective.loss(student, part)  # noqa: B023

            Accumulator(loss_of, stepper, rows, halved=lambda rows: None)(batch)
            found.append({name: weight.grad.clone() for name, weight in model.named_parameters()})
    for name, gradient in found[0].items():
        assert torch.allclose(gradient, found[1][name], atol=1e-6), name


def test_what_fitted_is_remembered_for_the_shape_and_for_no_other(tmp_path: Path) -> None:
    file = tmp_path / "data" / "micro.json"
    fit(small_memory(still(), 3), TrainingHooks(micro_batches=MicroBatches(file)), epochs=0.5)
    warnings: list[str] = []
    again, _ = fit(
        small_memory(still(), 3), TrainingHooks(micro_batches=MicroBatches(file), on_warning=warnings.append)
    )
    assert (again.micro_batch, warnings) == (2, [])
    other, _ = fit(still(), TrainingHooks(micro_batches=MicroBatches(file)), max_length=16, epochs=0.5)
    assert other.micro_batch == 8


def test_it_is_not_remembered_for_ever_and_a_broken_memory_is_none(tmp_path: Path) -> None:
    file = tmp_path / "micro.json"
    memory = MicroBatches(file)
    memory.learn("a", 4)
    assert memory.recall("a") == 4
    file.write_text(json.dumps({"a": {"rows": 4, "at": time.time() - 30 * 24 * 3600}}))
    assert memory.recall("a") is None
    for broken in ("{", "[]", '{"a": 4}', '{"a": {"rows": "four", "at": 1}}'):
        file.write_text(broken)
        assert memory.recall("a") is None
    memory.learn("b", 2)
    assert memory.recall("b") == 2


def test_a_single_row_that_does_not_fit_is_an_error_with_a_way_out() -> None:
    with pytest.raises(LayercutError, match=r"one row at a time: lower recovery\.max_length") as caught:
        fit(small_memory(still(), 0), TrainingHooks())
    assert caught.value.code == "out_of_memory"


def test_an_error_that_is_not_of_memory_is_not_tried_again() -> None:
    calls: list[int] = []

    def fail() -> Exception:
        calls.append(1)
        return RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        fit(small_memory(still(), 0, fail), TrainingHooks())
    assert len(calls) == 1


@pytest.mark.slow
def test_a_resumed_training_goes_on_with_the_rows_that_fitted(tmp_path: Path) -> None:
    whole = small_memory(build("bert", layers=2), 3)
    Run(tmp_path / "whole").go(whole)
    with pytest.raises(Killed):
        Run(tmp_path / "cut").go(small_memory(build("bert", layers=2), 3), kill_after=20)
    last, model = Run(tmp_path / "cut", attempt=2), small_memory(build("bert", layers=2), 3)
    last.go(model)
    assert_same(weights(model), weights(whole))
    assert len(last.warnings) == 2  # the report is the last attempt's, and tells all


class Spoilt:
    """An objective whose loss, or gradient, is no number at each of these calls."""

    wants_hidden, words = False, True
    alter = staticmethod(unaltered)

    def __init__(self, *calls: int, gradient: bool = False) -> None:
        self._plain = label_objective(KIND, features_of("bert"), CPU)
        self._calls, self._gradient, self._count = calls, gradient, 0

    def loss(self, student: StudentOutput, rows: RowIndexes) -> Tensor:
        loss = self._plain.loss(student, rows)
        self._count += 1
        if self._count not in self._calls:
            return loss
        # The root of nothing is a number; its slope is not.
        return loss + (student.values.sum() * 0).sqrt() if self._gradient else loss * float("nan")


def spoilt_fit(model: PreTrainedModel, objective: Spoilt, run: Run) -> TrainResult:
    return train(
        KIND, model, features_of("bert"), objective, RECOVERY,
        seed=3, device=CPU, on_step=run.steps.append, hooks=run.hooks,
    )  # fmt: skip


@pytest.mark.parametrize("gradient", [False, True], ids=["loss", "gradient"])
def test_the_first_divergence_starts_it_again_at_a_quarter_of_the_rate(gradient: bool, tmp_path: Path) -> None:
    calm, model = build("bert", layers=2), build("bert", layers=2)
    run = Run(tmp_path / "spoilt")
    trained = spoilt_fit(model, Spoilt(10, gradient=gradient), run)

    slow = RECOVERY.model_copy(update={"learning_rate": RECOVERY.learning_rate / 4})
    train(KIND, calm, features_of("bert"), Spoilt(), slow, seed=3, device=CPU, on_step=lambda step: None)
    assert_same(weights(model), weights(calm))
    assert trained.learning_rate == RECOVERY.learning_rate / 4
    (warning,) = run.warnings
    what = "gradient's norm" if gradient else "loss"
    assert f"the {what} became nan at step 10 of 48" in warning or f"the {what} became inf at step 10" in warning
    assert "0.00075 in place of 0.003" in warning
    assert run.jumps == [(9, 0, 48)]
    assert [step.number for step in run.steps] == [*range(1, 10), *range(1, 49)]


def test_the_second_divergence_is_a_failure_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LayercutError, match=r"at step 6 of 48, even with a quarter.*recovery.learning_rate") as caught:
        spoilt_fit(build("bert", layers=2), Spoilt(10, 16), Run(tmp_path))
    assert caught.value.code == "training_diverged"
    assert caught.value.param == "/recovery/learning_rate"


def killed_in_its_second_pass(run: Run) -> None:
    def on_step(step: Step) -> None:
        run.steps.append(step)
        if len(run.steps) == 30:
            raise Killed

    with pytest.raises(Killed):
        train(
            KIND, build("bert", layers=2), features_of("bert"), Spoilt(10), RECOVERY,
            seed=3, device=CPU, on_step=on_step, hooks=run.hooks,
        )  # fmt: skip


def test_a_training_that_backed_off_goes_on_at_the_lower_rate_after_a_kill(tmp_path: Path) -> None:
    whole, model = build("bert", layers=2), build("bert", layers=2)
    spoilt_fit(whole, Spoilt(10), Run(tmp_path / "whole"))
    killed_in_its_second_pass(Run(tmp_path / "cut"))
    last = Run(tmp_path / "cut", attempt=2)
    spoilt_fit(model, Spoilt(), last)
    assert_same(weights(model), weights(whole))
    assert any("started again" in words for words in last.warnings)


def test_a_kill_gives_no_third_chance(tmp_path: Path) -> None:
    killed_in_its_second_pass(Run(tmp_path))
    with pytest.raises(LayercutError, match="even with a quarter"):
        spoilt_fit(build("bert", layers=2), Spoilt(1), Run(tmp_path, attempt=2))
