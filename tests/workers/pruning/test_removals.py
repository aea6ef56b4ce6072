"""Greedy removal against brute force: whole models with the layers really gone."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, kl_divergence

from api_schemas.architectures import ARCHITECTURES
from api_schemas.errors import LayercutError
from tests.support.tiny_models import CLASSIFIERS, LAYERS, SENTENCES, build, tiny_tokenizer
from workers.pruning.importance import logits_of
from workers.pruning.removals import Answers, measure_removals
from workers.pruning.surgery import drop_layers, layers_of

FREE = set(range(1, LAYERS))


def batches_of(architecture: str) -> list[dict[str, Tensor]]:
    """Rows of unlike lengths in batches of unlike sizes."""
    tokenizer = tiny_tokenizer(architecture)
    parts = (SENTENCES[:3], SENTENCES[3:])
    return [dict(tokenizer(list(part), padding=True, return_tensors="pt")) for part in parts]


def classes(whole: Any, pruned: Any, batch: dict[str, Tensor]) -> Tensor:
    found, aim = pruned.logits.double().log_softmax(-1), whole.logits.double().log_softmax(-1)
    return (aim.exp() * (aim - found)).sum(-1)


def words(whole: Any, pruned: Any, batch: dict[str, Tensor]) -> Tensor:
    return classes(whole, pruned, batch)[batch["attention_mask"].bool()]


def number(whole: Any, pruned: Any, batch: dict[str, Tensor]) -> Tensor:
    return (whole.logits - pruned.logits).double().square()[:, 0]


def states(whole: Any, pruned: Any, batch: dict[str, Tensor]) -> Tensor:
    found = torch.nn.functional.cosine_similarity(whole.last_hidden_state, pruned.last_hidden_state, dim=-1)
    return 1 - found[batch["attention_mask"].bool()].double()


def brute_force(
    model: Any, architecture: str, batches: list[dict[str, Tensor]], steps: int, distance: Any
) -> dict[int, float]:
    """The layers that greedy removal takes, in their order, with the distance after each."""
    order: dict[int, float] = {}
    for _ in range(steps):
        hurts = {}
        for layer in sorted(FREE - order.keys()):
            pruned = copy.deepcopy(model)
            drop_layers(pruned, ARCHITECTURES[architecture], [at for at in range(LAYERS) if at not in {*order, layer}])
            with torch.no_grad():
                parts = [distance(model(**batch), pruned(**batch), batch) for batch in batches]
            hurts[layer] = float(torch.cat(parts).mean())
        gone = min(hurts, key=lambda layer: (round(hurts[layer], 9), -layer))
        order[gone] = hurts[gone]
    return order


def check(model: Any, architecture: str, distance: Any, steps: int = 3, answers: Answers | None = None) -> None:
    batches = batches_of(architecture)
    expected = brute_force(model, architecture, batches, steps, distance)
    found = measure_removals(
        model, ARCHITECTURES[architecture], lambda: iter(batches), free=FREE, steps=steps, answers=answers
    )
    wanted = [list(expected).index(layer) + 1 if layer in expected else steps + 1 for layer in range(LAYERS)]
    assert found["removal_step"] == wanted
    np.testing.assert_allclose([found["removal_hurt"][layer] for layer in expected], list(expected.values()), rtol=1e-3)


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_removal_is_what_brute_force_finds(architecture: str) -> None:
    check(build(architecture, labels=3), architecture, classes)


@pytest.mark.parametrize(
    ("head", "labels", "distance"), [("masked_lm", 2, words), ("base", 2, states), ("classification", 1, number)]
)
def test_whatever_a_model_answers_is_what_is_compared(head: str, labels: int, distance: Any) -> None:
    check(build("bert", head=head, labels=labels), "bert", distance)


def yes_or_no(whole: Any, pruned: Any, batch: dict[str, Tensor]) -> Tensor:
    aim, found = (Bernoulli(logits=each.logits.double()) for each in (whole, pruned))
    return kl_divergence(aim, found).sum(-1)


def vector(whole: Any, pruned: Any, batch: dict[str, Tensor]) -> Tensor:
    ours, theirs = (each.last_hidden_state[:, 0].double() for each in (whole, pruned))
    return 1 - torch.nn.functional.cosine_similarity(ours, theirs, dim=-1)


def of_real_tokens(model: Any, batch: dict[str, Tensor]) -> Tensor:
    return logits_of(model, batch)[batch["attention_mask"].bool()]


@pytest.mark.parametrize(
    ("head", "answers", "distance"),
    [
        ("classification", Answers("classes", logits_of), classes),
        ("classification", Answers("yes_or_no", logits_of), yes_or_no),
        ("token_classification", Answers("classes", of_real_tokens), words),
        ("base", Answers("vector", lambda model, batch: model(**batch).last_hidden_state[:, 0]), vector),
    ],
)
def test_what_answers_the_task_is_what_is_compared(head: str, answers: Answers, distance: Any) -> None:
    check(build("bert", head=head, labels=3), "bert", distance, answers=answers)


def test_the_first_of_a_longer_order_are_the_shorter_one() -> None:
    model, batches = build("roberta"), batches_of("roberta")
    steps = [
        measure_removals(model, ARCHITECTURES["roberta"], lambda: batches, free=FREE, steps=count)["removal_step"]
        for count in (2, 4)
    ]
    assert [min(step, 3) for step in steps[1]] == steps[0]


def test_layers_that_are_not_free_stay_and_the_model_is_as_it_was() -> None:
    model, row = build("bert").train(), ARCHITECTURES["bert"]
    before = list(layers_of(model, row))
    found = measure_removals(model, row, lambda: batches_of("bert"), free={2, 4}, steps=2)["removal_step"]
    assert sorted(found) == [1, 2, 3, 3, 3, 3]
    assert {layer for layer, step in enumerate(found) if step < 3} == {2, 4}
    assert list(layers_of(model, row)) == before
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_nothing_below_a_candidate_is_computed_again() -> None:
    model, row = build("bert"), ARCHITECTURES["bert"]
    runs = [0] * LAYERS
    for index, layer in enumerate(layers_of(model, row)):
        plain = layer.forward

        def counted(*args: Any, _index: int = index, _plain: Any = plain, **kwargs: Any) -> Any:
            runs[_index] += 1
            return _plain(*args, **kwargs)

        layer.forward = counted
    batches = batches_of("bert")[:1]
    measure_removals(model, row, lambda: batches, free=FREE, steps=1)
    # Once for the whole answer, which leaves the states on the way; then once for each candidate below.
    assert runs == [1 + max(0, layer - 1) for layer in range(LAYERS)]


def test_what_is_not_finite_and_what_is_not_there_are_told() -> None:
    model, row = build("bert"), ARCHITECTURES["bert"]
    with pytest.raises(LayercutError, match="no text") as caught:
        measure_removals(model, row, list, free=FREE, steps=1)
    assert caught.value.code == "dataset_invalid"
    layers_of(model, row)[3].output.dense.weight.data.fill_(float("nan"))
    with pytest.raises(LayercutError, match=r"output of layer 3 \(encoder\.layer\.3\) is not") as caught:
        measure_removals(model, row, lambda: batches_of("bert"), free=FREE, steps=1)
    assert caught.value.code == "activations_not_finite"


def test_a_convolution_after_the_first_layer_keeps_it() -> None:
    model, row = build("deberta-v2"), ARCHITECTURES["deberta-v2"]
    with pytest.raises(LayercutError, match="convolution") as caught:
        measure_removals(model, row, lambda: batches_of("deberta-v2"), free={0, 1}, steps=1)
    assert (caught.value.code, caught.value.param) == ("invalid_layers", "/prune/protect_layers")
