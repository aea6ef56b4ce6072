"""Measures of layers, for every architecture, against plain definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import CLASSIFIERS, LAYERS, SENTENCES, build, tiny_tokenizer
from torch.nn.functional import cosine_similarity

from api_schemas.architectures import ARCHITECTURES
from api_schemas.errors import LayercutError
from api_schemas.strategies import STRATEGIES
from workers.pruning.scoring import measure_activations, measure_weights


def encoded(architecture: str, texts: list[str]) -> dict[str, torch.Tensor]:
    return dict(tiny_tokenizer(architecture)(texts, padding=True, return_tensors="pt"))


# After the last layer of the newer families, before their public states: no business of the layer's.
FINAL_NORMS = ("norm", "final_norm", "ln_f", "decoder.final_layer_norm")


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_summary_cosine_is_that_of_the_summary_token_before_and_after(architecture: str) -> None:
    row = ARCHITECTURES[architecture]
    # Without its convolution, which stands between two layers, the public hidden states are what layers take and give.
    extra = {"conv_kernel_size": 0} if architecture == "deberta-v2" else {}
    model = build(architecture, **extra)
    for name, _ in list(model.base_model.named_modules()):
        if name in FINAL_NORMS:
            model.base_model.set_submodule(name, torch.nn.Identity())
    expected = torch.zeros(LAYERS)
    for text in SENTENCES:
        # One text at a time: no padding, so the first and the last token are where they look to be.
        inputs = encoded(architecture, [text])
        at = 0 if row.summary == "first" else -1
        with torch.inference_mode():
            states = model.base_model(**inputs, output_hidden_states=True).hidden_states
        for layer in range(LAYERS):
            expected[layer] += cosine_similarity(states[layer][0, at], states[layer + 1][0, at], dim=0)
    found = measure_activations(model, row, [encoded(architecture, list(SENTENCES))])
    assert found.keys() == {"summary_cosine"}
    np.testing.assert_allclose(found["summary_cosine"], expected / len(SENTENCES), atol=1e-5)


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_batches_padding_and_labels_do_not_change_the_scores(architecture: str) -> None:
    model, row = build(architecture), ARCHITECTURES[architecture]
    together = encoded(architecture, list(SENTENCES)) | {"labels": torch.zeros(len(SENTENCES), dtype=torch.long)}
    alone = (encoded(architecture, [text]) for text in SENTENCES)
    np.testing.assert_allclose(
        measure_activations(model, row, [together])["summary_cosine"],
        measure_activations(model, row, alone)["summary_cosine"],
        atol=1e-5,
    )


def test_scoring_leaves_the_model_as_it_was() -> None:
    model = build("bert").train()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    measure_activations(model, ARCHITECTURES["bert"], [encoded("bert", list(SENTENCES))])
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_a_layer_that_does_nothing_scores_highest() -> None:
    model = build("bert")
    layer = model.base_model.encoder.layer[2]
    layer.forward = lambda hidden_states, *args, **kwargs: hidden_states
    scores = measure_activations(model, ARCHITECTURES["bert"], [encoded("bert", list(SENTENCES))])["summary_cosine"]
    assert scores[2] == pytest.approx(1.0)
    assert max(scores) == scores[2] > sorted(scores)[-2]


@pytest.mark.parametrize("architecture", ["bert", "xlnet"])
def test_an_output_that_is_not_finite_names_the_layer(architecture: str) -> None:
    model, row = build(architecture), ARCHITECTURES[architecture]
    _name, weight = next(pair for pair in model.named_parameters() if "layer.3." in pair[0])
    weight.data.fill_(float("nan"))
    with pytest.raises(LayercutError, match="output of layer 3 is not finite") as caught:
        measure_activations(model, row, [encoded(architecture, list(SENTENCES))])
    assert caught.value.code == "training_diverged"
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
    taken = measure_weights(model, row) | measure_activations(model, row, [encoded("bert", list(SENTENCES))])
    assert {strategy.measure for strategy in STRATEGIES.values() if strategy.measure} == taken.keys()
