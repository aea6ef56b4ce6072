"""The encoder that leaves out padding, and what nobody reads, gives what the whole one gives."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from sources.rows import Rows
from tests.support.tiny_models import build, tiny_tokenizer
from tests.support.trainings import CPU
from workers.data.batches import collate
from workers.data.features import CLASS, encode
from workers.training.cpu.blocks import BLOCKS, encoder_of
from workers.training.cpu.packed_encoder import packed_encoder
from workers.training.cpu.packing import Packing, real_tokens, size_of

#: Rows of unlike lengths, shorter and longer than what softmax is rounded to.
UNLIKE = ("a lovely film", "x", "my flight was late again, " * 6, "a dull and lifeless story")
#: No padding at all but that of the batch's width, once shorter than what softmax is rounded to.
ALIKE, ALIKE_LONG = ("a lovely film",) * 4, ("my flight was late again and no one could say why " * 2,) * 4
NO_DROPOUT = {
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0,
}  # fmt: skip
DISTILBERT_NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0}


#: What reads the first token of a row, and what reads all of them.
HEADS = ("classification", "token_classification", "base")


def still(architecture: str, layers: int = 3, seed: int = 0, head: str = "classification") -> PreTrainedModel:
    """Without dropout, as two ways of drawing it cannot be compared."""
    changes: dict[str, Any] = DISTILBERT_NO_DROPOUT if architecture == "distilbert" else NO_DROPOUT
    model = build(architecture, head=head, layers=layers, seed=seed, **changes).train()
    model.set_attn_implementation("eager")
    return model


def batch(architecture: str, texts: tuple[str, ...]) -> dict[str, Tensor]:
    rows = Rows([(text,) for text in texts], [0] * len(texts), "made", "0" * 64)
    return collate(encode(tiny_tokenizer(architecture), rows, 48, CLASS), np.arange(len(texts)), CPU)


def loss_of_tokens(values: Tensor) -> Tensor:
    """Along one direction: the squares of a norm's output have the same sum whatever the layers do."""
    direction = F.normalize(torch.linspace(-1, 2, values.shape[-1]), dim=0)
    return (values @ direction).square().mean()


def answer(model: PreTrainedModel, inputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """What is read of the answer, ``(…, C)``, padding left out, and the gradient of every weight."""
    output = model(**inputs)
    logits = output.logits if "logits" in output else output.last_hidden_state
    of_tokens = logits.ndim == 3
    if of_tokens:
        assert logits.shape[:2] == inputs["attention_mask"].shape
        logits = logits[inputs["attention_mask"].bool()]
    model.zero_grad()
    (loss_of_tokens(logits) if of_tokens else logits.square().sum()).backward()
    return logits.detach(), {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
        for name, weight in model.named_parameters()
    }


@pytest.mark.parametrize("texts", [UNLIKE, ALIKE, ALIKE_LONG], ids=["unlike", "alike", "long"])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("architecture", BLOCKS)
def test_in_float32_it_is_the_plain_encoder(
    architecture: str, head: str, layers: int, texts: tuple[str, ...]
) -> None:  # fmt: skip
    model, inputs = still(architecture, layers, head=head), batch(architecture, texts)
    logits, gradients = answer(model, inputs)
    with packed_encoder(model, torch.float32):
        found, packed = answer(model, inputs)
    assert torch.allclose(found, logits, atol=1e-6)
    for name, gradient in gradients.items():
        assert torch.allclose(packed[name], gradient, rtol=1e-4, atol=1e-6), name


def test_a_batch_without_padding_has_no_token_for_it() -> None:
    packings = [Packing.of(batch("bert", texts)["attention_mask"]) for texts in (UNLIKE, ALIKE, ALIKE_LONG)]
    assert [packing.full for packing in packings] == [False, False, True]
    real = [int(packing.mask.sum()) for packing in packings]
    packed = [len(packing.pack(torch.zeros(4, 48, 8))) for packing in packings]
    assert packed == [size_of(real[0] + 1), size_of(real[1] + 1), real[2]]


def test_packed_batches_have_few_sizes() -> None:
    """Each new size costs code and memory of oneDNN, that is kept; a sixteenth more tokens at most is the price."""
    wanted = range(200, 3200)
    sizes = {size_of(count) for count in wanted}
    assert len(sizes) < 80
    assert all(count <= size_of(count) <= count * 17 / 16 for count in wanted)


def test_gradients_of_two_batches_add_up() -> None:
    model, (one, other) = still("bert"), (batch("bert", texts) for texts in (UNLIKE, ALIKE))
    alone = [answer(model, inputs)[1] for inputs in (one, other)]
    with packed_encoder(model, torch.float32):
        model.zero_grad()
        for inputs in (one, other):
            model(**inputs).logits.square().sum().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert torch.allclose(weight.grad, alone[0][name] + alone[1][name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("architecture", BLOCKS)
def test_in_bf16_it_is_as_near_to_float32_as_autocast(architecture: str) -> None:
    """What rounding does to one model is chance (0.3 to 4 times), unlike on each processor: the median tells."""
    ratios = []
    for seed in range(7):
        model, inputs = still(architecture, seed=seed), batch(architecture, UNLIKE)
        logits, gradients = answer(model, inputs)
        with torch.autocast("cpu", torch.bfloat16):
            _, usual = answer(model, inputs)
            with packed_encoder(model, torch.bfloat16):
                found, packed = answer(model, inputs)
        assert torch.allclose(found.float(), logits, atol=5e-3)
        ratios.append(error(packed, gradients) / error(usual, gradients))
    assert statistics.median(ratios) < 1.5


def error(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    return float(sum((found[name] - gradient).square().sum() for name, gradient in wanted.items()) ** 0.5)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("architecture", BLOCKS)
def test_hidden_states_that_are_asked_for_are_those_of_every_layer(architecture: str, head: str) -> None:
    model, inputs = still(architecture, head=head), batch(architecture, UNLIKE)
    mask = inputs["attention_mask"]

    def learnt() -> tuple[list[Tensor], Tensor]:
        states = [real_tokens(state, mask) for state in model(**inputs, output_hidden_states=True).hidden_states]
        model.zero_grad()
        sum(state.square().mean() for state in states).backward()
        return states, model.get_input_embeddings().weight.grad.clone()

    wanted, slope = learnt()
    with packed_encoder(model, torch.float32):
        found, packed_slope = learnt()
        assert model(**inputs).hidden_states is None
    assert len(found) == len(wanted) == 4
    assert {len(one) for one in found} == {int(mask.sum())}
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert torch.allclose(packed_slope, slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("head", ["token_classification", "base"])
def test_padding_is_answered_with_zeros_however_wide_the_batch_is(head: str) -> None:
    """Poolings go by the mask; what their states would have been at padding is nobody's business."""
    model, inputs = still("bert", head=head), batch("bert", UNLIKE)
    wider = {name: F.pad(value, (0, 5)) for name, value in inputs.items()}
    encoder = encoder_of(model)
    seen: list[Tensor] = []
    wanted = answer(model, inputs)
    with packed_encoder(model, torch.float32):
        encoder.register_forward_hook(lambda _, __, output: seen.append(output.last_hidden_state))
        found = answer(model, wider)
    assert torch.allclose(found[0], wanted[0], atol=1e-6)
    for name, gradient in wanted[1].items():
        assert torch.allclose(found[1][name], gradient, rtol=1e-4, atol=1e-6), name
    assert seen[0].shape[:2] == wider["attention_mask"].shape
    assert not seen[0][~wider["attention_mask"].bool()].any()


@pytest.mark.parametrize("asks", [False, True])
def test_a_frozen_model_gives_the_same_batch_after_batch(asks: bool) -> None:
    model, inputs = still("bert").eval(), batch("bert", UNLIKE)
    with torch.no_grad():
        wanted = model(**inputs).logits
        with packed_encoder(model, torch.float32, frozen=True):
            found = [model(**inputs, output_hidden_states=asks).logits for _ in range(2)]
    assert torch.allclose(found[0], wanted, atol=1e-6)
    assert torch.equal(found[0], found[1])


def test_the_model_is_itself_again_afterwards_and_after_an_error() -> None:
    model, inputs = build("bert", layers=2), batch("bert", UNLIKE)
    wanted, before = model(**inputs), dict(vars(model.bert.encoder))
    for error in (False, True):
        try:
            with packed_encoder(model, torch.float32):
                assert model.bert.encoder.forward is not type(model.bert.encoder).forward
                if error:
                    raise KeyError
        except KeyError:
            pass
        assert vars(model.bert.encoder).keys() == before.keys()
        assert not model.bert._forward_pre_hooks
        assert not model.bert._forward_hooks
        assert torch.equal(model(**inputs).logits, wanted.logits)


def test_dropout_is_drawn_in_each_of_its_places() -> None:
    model, inputs = still("bert"), batch("bert", UNLIKE)
    with packed_encoder(model, torch.float32), torch.no_grad():
        calm = model(**inputs).logits
        for layer in (0, 2):
            for place in ("attention.self", "attention.output", "output"):
                part = model.bert.encoder.layer[layer].get_submodule(place)
                part.dropout.p = 0.5
                drawn = [model(**inputs).logits for _ in range(2)]
                assert not torch.equal(*drawn), place
                assert not torch.equal(drawn[0], calm), place
                part.dropout.p = 0.0
