"""Measures of layers, for every architecture, against plain definitions."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot
from transformers import PretrainedConfig

from api_schemas.architectures import ARCHITECTURES, Architecture
from api_schemas.errors import LayercutError
from api_schemas.strategies import MEASURES, STRATEGIES
from tests.support.tiny_models import CLASSIFIERS, LAYERS, SENTENCES, build, tiny_tokenizer
from workers.pruning.importance import measure_activations, measure_gradients, measure_weights
from workers.pruning.language import masked_token, next_token
from workers.pruning.removals import measure_removals


def encoded(architecture: str, texts: list[str]) -> dict[str, torch.Tensor]:
    return dict(tiny_tokenizer(architecture)(texts, padding=True, return_tensors="pt"))


# After the last layer of the newer families, before their public states: no business of the layer's.
FINAL_NORMS = ("norm", "final_norm", "ln_f", "decoder.final_layer_norm")


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_activations_are_measured_as_they_are_defined(architecture: str) -> None:
    row = ARCHITECTURES[architecture]
    # Without its convolution, which stands between two layers, the public hidden states are what layers take and give.
    extra = {"conv_kernel_size": 0} if architecture == "deberta-v2" else {}
    model = build(architecture, **extra)
    for name, _ in list(model.base_model.named_modules()):
        if name in FINAL_NORMS:
            model.base_model.set_submodule(name, torch.nn.Identity())
    summary, turns, angles = np.zeros(LAYERS), [], np.zeros((LAYERS + 1, LAYERS + 1))
    for text in SENTENCES:
        # One text at a time: no padding, so the first and the last token are where they look to be.
        inputs = encoded(architecture, [text])
        with torch.inference_mode():
            found = model.base_model(**inputs, output_hidden_states=True).hidden_states
        states = torch.cat(found).double().numpy()
        unit = states / np.linalg.norm(states, axis=-1, keepdims=True)
        cosines = (unit[:-1] * unit[1:]).sum(-1)
        at = 0 if row.summary == "first" else -1
        summary += cosines[:, at]
        turns.append(cosines)
        angles += np.arccos(np.clip(unit[:, at] @ unit[:, at].T, -1, 1)) / np.pi
    found = measure_activations(model, row, [encoded(architecture, list(SENTENCES))])
    assert found.keys() == {"summary_cosine", "block_influence", "angular_distance"}
    np.testing.assert_allclose(found["summary_cosine"], summary / len(SENTENCES), atol=1e-5)
    # Over all tokens, and not over rows: a long text counts for more than a short one.
    influence = 1 - np.concatenate(turns, axis=1).mean(1)
    np.testing.assert_allclose(found["block_influence"], influence, atol=1e-5)
    np.testing.assert_allclose(found["angular_distance"], angles / len(SENTENCES), atol=1e-4)


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_batches_padding_and_labels_do_not_change_the_importance(architecture: str) -> None:
    model, row = build(architecture), ARCHITECTURES[architecture]
    together = encoded(architecture, list(SENTENCES)) | {"labels": torch.zeros(len(SENTENCES), dtype=torch.long)}
    alone = measure_activations(model, row, (encoded(architecture, [text]) for text in SENTENCES))
    for name, values in measure_activations(model, row, [together]).items():
        np.testing.assert_allclose(values, alone[name], atol=1e-4 if name == "angular_distance" else 1e-5)


def test_measuring_leaves_the_model_as_it_was() -> None:
    model = build("bert").train()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    measure_activations(model, ARCHITECTURES["bert"], [encoded("bert", list(SENTENCES))])
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_a_layer_that_does_nothing_stands_highest() -> None:
    model = build("bert")
    layer = model.base_model.encoder.layer[2]
    layer.forward = lambda hidden_states, *args, **kwargs: hidden_states
    found = measure_activations(model, ARCHITECTURES["bert"], [encoded("bert", list(SENTENCES))])
    importance = found["summary_cosine"]
    assert importance[2] == pytest.approx(1.0)
    assert max(importance) == importance[2] > sorted(importance)[-2]
    assert found["block_influence"][2] == pytest.approx(0.0, abs=1e-6) == min(found["block_influence"])
    assert found["angular_distance"][2][3] == pytest.approx(0.0, abs=1e-4)
    labels = torch.tensor([0, 1] * 4)
    taylor = measure_gradients(
        model,
        ARCHITECTURES["bert"],
        [(encoded("bert", list(SENTENCES)), lambda logits: cross_entropy(logits, labels))],
    )
    assert taylor["taylor"][2] == 0.0 < sorted(taylor["taylor"])[1]


class Chain(torch.nn.Module):
    """Residual layers that are linear, and a linear head: what a first-order score says of them is exact."""

    def __init__(self, layers: int, width: int, *, time_first: bool) -> None:
        super().__init__()
        self.time_first = time_first
        self.embed = torch.nn.Embedding(11, width)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(width, width) for _ in range(layers))
        self.head = torch.nn.Linear(width, 3)
        self.config = PretrainedConfig(num_hidden_layers=layers)
        self.device = torch.device("cpu")

    @property
    def base_model(self) -> Chain:
        return self

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, without: int = -1) -> SimpleNamespace:
        state = self.embed(input_ids)
        state = state.transpose(0, 1) if self.time_first else state
        for index, layer in enumerate(self.layers):
            if index != without:
                state = layer(state)
        state = state.transpose(0, 1) if self.time_first else state
        weights = attention_mask.unsqueeze(-1) / attention_mask.sum(1)[:, None, None]
        return SimpleNamespace(logits=self.head((state * weights).sum(1)))


@pytest.mark.parametrize("time_first", [False, True])
def test_taylor_is_exact_where_the_model_and_the_loss_are_linear(time_first: bool) -> None:
    torch.manual_seed(3)
    chain = Chain(4, 5, time_first=time_first)
    row = Architecture("chain", "layers", time_first=time_first)
    inputs = {"input_ids": torch.randint(0, 11, (7, 6)), "attention_mask": torch.ones(7, 6, dtype=torch.long)}
    inputs["attention_mask"][2, 4:] = 0
    wanted = torch.randn(7, 3)

    def rows_loss(logits: torch.Tensor, at: slice) -> torch.Tensor:
        return (logits * wanted[at]).sum(1)

    halves = [slice(0, 3), slice(3, 7)]
    batches = [
        ({name: value[at] for name, value in inputs.items()}, lambda logits, at=at: rows_loss(logits, at).mean())
        for at in halves
    ]
    with torch.no_grad():
        whole = rows_loss(chain(**inputs).logits, slice(None))
        changes = [rows_loss(chain(**inputs, without=layer).logits, slice(None)) - whole for layer in range(4)]
    expected = [float(change.abs().mean()) for change in changes]
    assert measure_gradients(chain, row, batches)["taylor"] == pytest.approx(expected, rel=1e-4)
    assert all(weight.grad is None for weight in chain.parameters())
    assert any(change.min() < 0 < change.max() for change in changes), "or rows could not cancel"


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_taylor_does_not_depend_on_batches_or_padding(architecture: str) -> None:
    model, row = build(architecture), ARCHITECTURES[architecture]
    labels = torch.arange(len(SENTENCES)) % 2
    together = [(encoded(architecture, list(SENTENCES)), lambda logits: cross_entropy(logits, labels))]
    alone = [
        (encoded(architecture, [text]), lambda logits, label=label: cross_entropy(logits, label[None]))
        for text, label in zip(SENTENCES, labels, strict=True)
    ]
    found = measure_gradients(model, row, together)["taylor"]
    assert len(found) == LAYERS
    assert min(found) > 0
    np.testing.assert_allclose(found, measure_gradients(model, row, alone)["taylor"], rtol=1e-3)


def test_a_masked_language_models_loss_asks_for_some_of_the_text_and_nothing_else() -> None:
    tokenizer, batch = tiny_tokenizer("bert"), encoded("bert", list(SENTENCES))
    hidden, loss = masked_token(batch, tokenizer, torch.Generator().manual_seed(1))
    asked = hidden["input_ids"] != batch["input_ids"]
    assert (hidden["input_ids"][asked] == tokenizer.mask_token_id).all()
    special = torch.isin(batch["input_ids"], torch.tensor(tokenizer.all_special_ids))
    assert not (asked & special).any()
    assert asked.any(dim=1).all(), "a row without any would count for nothing"
    assert asked.sum() < 0.4 * (~special).sum()
    right = one_hot(batch["input_ids"], len(tokenizer)).float() * 50
    assert loss(right) == pytest.approx(0, abs=1e-6)
    wrong = torch.where(asked[..., None], right.roll(1, dims=-1), right)
    assert loss(wrong) == pytest.approx(50, rel=1e-3)
    again, _ = masked_token(batch, tokenizer, torch.Generator().manual_seed(1))
    assert torch.equal(again["input_ids"], hidden["input_ids"])


@pytest.mark.parametrize("left", [False, True])
def test_a_decoders_loss_is_that_of_the_next_real_token(left: bool) -> None:
    ids = torch.tensor([[5, 6, 7, 8], [1, 2, 3, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    if left:
        ids, mask = ids.flip(1), mask.flip(1)
    _, loss = next_token({"input_ids": ids, "attention_mask": mask})
    logits = torch.randn(2, 4, 9)
    rows = []
    for row in range(2):
        real = [at for at in range(4) if mask[row, at]]
        losses = [float(cross_entropy(logits[row, a], ids[row, b])) for a, b in pairwise(real)]
        rows.append(sum(losses) / len(losses))
    assert float(loss(logits)) == pytest.approx(sum(rows) / 2, rel=1e-5)


@pytest.mark.parametrize("architecture", ["bert", "xlnet"])
def test_an_output_that_is_not_finite_names_the_layer(architecture: str) -> None:
    model, row = build(architecture), ARCHITECTURES[architecture]
    _name, weight = next(pair for pair in model.named_parameters() if "layer.3." in pair[0])
    weight.data.fill_(float("nan"))
    inputs = encoded(architecture, list(SENTENCES))
    labels = torch.zeros(len(SENTENCES), dtype=torch.long)
    name = rf"output of layer 3 \({row.layers}\.3\) is not finite"
    with pytest.raises(LayercutError, match=name) as caught:
        measure_activations(model, row, [inputs])
    assert caught.value.code == "activations_not_finite"
    with pytest.raises(LayercutError, match=name) as caught:
        measure_gradients(model, row, [(inputs, lambda logits: cross_entropy(logits, labels))])
    assert caught.value.code == "activations_not_finite"
    with pytest.raises(LayercutError, match="weights of layer 3 are not finite") as caught:
        measure_weights(model, row)
    assert caught.value.code == "model_invalid"


def test_no_rows_is_an_error_and_not_a_division_by_zero() -> None:
    with pytest.raises(LayercutError, match="no text") as caught:
        measure_activations(build("bert"), ARCHITECTURES["bert"], [])
    assert caught.value.code == "dataset_invalid"


def test_weight_measures_are_over_all_entries_of_the_matrices() -> None:
    model = build("bert")
    found = measure_weights(model, ARCHITECTURES["bert"])
    for index, layer in enumerate(model.base_model.encoder.layer):
        linear = [m for m in layer.modules() if isinstance(m, torch.nn.Linear)]
        entries = np.concatenate([m.weight.detach().double().numpy().ravel() for m in linear])
        assert found["weight_mean_abs"][index] == pytest.approx(np.abs(entries).mean(), rel=1e-9)
        assert found["weight_variance"][index] == pytest.approx(entries.var(), rel=1e-9)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weight_measures_give_one_number_a_layer(architecture: str) -> None:
    found = measure_weights(build(architecture), ARCHITECTURES[architecture])
    layers = LAYERS * len(ARCHITECTURES[architecture].stacks)
    assert all(len(values) == layers and min(values) > 0 for values in found.values())
    if ARCHITECTURES[architecture].shared_layers:
        assert all(len(set(values)) == 1 for values in found.values())


def test_biases_do_not_count_even_where_they_are_matrices() -> None:
    model = build("xlnet")
    before = measure_weights(model, ARCHITECTURES["xlnet"])
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            weight.data.fill_(1000.0)
    assert measure_weights(model, ARCHITECTURES["xlnet"]) == before


def test_every_measure_that_a_strategy_wants_is_taken() -> None:
    model, row = build("bert"), ARCHITECTURES["bert"]
    inputs = encoded("bert", list(SENTENCES))
    taken = {
        "weights": measure_weights(model, row),
        "activations": measure_activations(model, row, [inputs]),
        "gradients": measure_gradients(model, row, [(inputs, lambda logits: logits.mean())]),
        "removals": measure_removals(model, row, lambda: [inputs], free={1, 2}, steps=1),
    }
    assert {strategy.measure for strategy in STRATEGIES.values() if strategy.measure} == MEASURES.keys()
    assert all(np.ndim(taken[row.taken_from][name]) == 1 + row.blocks for name, row in MEASURES.items())
