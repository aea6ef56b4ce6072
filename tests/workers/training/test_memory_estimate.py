"""The memory estimate against what autograd really keeps, and what follows from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from api_schemas.errors import LayercutError
from api_schemas.recovery import Precision
from api_schemas.training_memory import TrainingSize, training_memory
from tests.support.tiny_models import build
from tests.support.trainings import CPU, KIND, RECOVERY, features_of
from workers.runtime.device import DTYPES
from workers.training import loop
from workers.training.hooks import TrainingHooks
from workers.training.memory_estimate import rows_that_fit, size_of
from workers.training.objectives.losses import label_objective

BERT_BASE = TrainingSize(
    parameters=109_000_000, layers=12, width=768, inner=3072, heads=0, length=128, precision="bf16"
)


SIZES = [(64, 256, 4, 32), (64, 512, 2, 128), (128, 128, 6, 64)]


def kept_by_autograd(model: torch.nn.Module, rows: int, length: int, precision: Precision) -> int:
    """Bytes of all that the backward pass will read, but the weights."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    ids = torch.zeros((rows, length), dtype=torch.long)
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", DTYPES[precision], enabled=precision != "fp32"),
    ):
        loss = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.sum()
    assert loss.requires_grad
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("width", "inner", "layers", "length"), [(64, 256, 4, 32), (64, 512, 2, 128), (128, 128, 6, 64)]
)
def test_it_is_no_less_and_not_twice_what_autograd_keeps(
    width: int, inner: int, layers: int, length: int, precision: Precision
) -> None:
    config = BertConfig(
        vocab_size=50, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=2,
        attn_implementation="eager",
    )  # fmt: skip
    model = BertForSequenceClassification(config).train()
    kept = kept_by_autograd(model, 8, length, precision)

    guess = training_memory(size_of(model, length, precision), 8).activations
    assert kept <= guess <= 2 * kept


def test_weights_gradients_and_both_moments_are_counted_in_float32() -> None:
    memory = training_memory(BERT_BASE, 32)

    assert (memory.weights, memory.gradients, memory.moments) == (436_000_000, 436_000_000, 872_000_000)
    assert memory.total == memory.weights + memory.to_come


def test_attention_weights_count_only_where_they_are_written_down() -> None:
    fused, eager = (training_memory(replace(BERT_BASE, heads=heads, length=512), 1) for heads in (0, 12))

    assert eager.activations > 1.5 * fused.activations


def test_all_rows_where_there_is_room_and_half_as_many_where_there_is_room_for_those() -> None:
    half = training_memory(BERT_BASE, 16).to_come

    assert rows_that_fit(BERT_BASE, 32, 10 * half) == 32
    assert rows_that_fit(BERT_BASE, 32, half) == 16
    assert rows_that_fit(BERT_BASE, 32, half - 1) == 8


def test_what_cannot_fit_is_refused_with_the_numbers() -> None:
    with pytest.raises(LayercutError) as refused:
        rows_that_fit(BERT_BASE, 32, 1_200_000_000)

    assert refused.value.code == "out_of_memory"
    for number in ("1.20 GB", "0.44 GB", "0.87 GB", "128 tokens"):
        assert number in refused.value.message


def test_a_training_begins_with_the_rows_that_are_estimated_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    model, features = build("bert", layers=2), features_of("bert")
    size = size_of(model, int(features.lengths.max()), "fp32")
    monkeypatch.setattr(loop, "free_memory", lambda _: training_memory(size, RECOVERY.batch_size - 1).to_come)
    hooks = TrainingHooks()

    trained = loop.train(
        KIND, model, features, label_objective(KIND, features, CPU), RECOVERY,
        seed=1, device=CPU, on_step=lambda _: None, hooks=hooks,
    )  # fmt: skip
    assert trained.micro_batch == RECOVERY.batch_size // 2
    assert any("do not fit into memory" in warning for warning in hooks.warnings)
