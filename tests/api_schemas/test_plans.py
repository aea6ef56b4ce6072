"""What may be asked of pruning, and the plan that it becomes on one model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from api_schemas.architectures import ARCHITECTURES, ModelFacts, architecture_of
from api_schemas.errors import LayercutError
from api_schemas.plans import Plan, make_plan
from api_schemas.pruning import PruneSpec
from api_schemas.request_checks import prune_for
from api_schemas.strategies import STRATEGIES
from api_schemas.task_spec import TaskSpec

LAYER = 1_000


def model(layers: int = 12, **changed: Any) -> ModelFacts:
    facts = {
        "id": "some/model",
        "architecture": "bert",
        "layers": layers,
        "hidden_size": 768,
        "parameters": 4_000 + layers * LAYER,
        "parameters_per_layer": [LAYER] * layers,
        "bytes": 4 * (4_000 + layers * LAYER),
    }
    return ModelFacts.model_validate(facts | changed)


def plan(spec: dict[str, Any], facts: ModelFacts | None = None, **given: Any) -> Plan:
    asked = prune_for(TaskSpec(name="none"), PruneSpec.model_validate(spec))
    return make_plan(asked, facts or model(), **{"seed": 42} | given)


def refusal(spec: dict[str, Any], facts: ModelFacts | None = None, **given: Any) -> LayercutError:
    with pytest.raises(LayercutError) as caught:
        plan(spec, facts, **given)
    return caught.value


# --- what may be asked


def test_a_third_of_the_layers_goes_from_the_top_by_default() -> None:
    made = plan({})
    assert (made.strategy, made.dropped) == ("top", [8, 9, 10, 11])


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        ({"drop": 5}, 5),
        ({"drop_ratio": 0.5}, 6),
        ({"drop_ratio": 0.001}, 1),
        ({"drop_ratio": 0.999}, 11),
        ({"target_params": 14_000}, 2),
        ({"target_params": 13_999}, 3),
        ({"target_params": 5_000}, 11),
        ({"strategy": "explicit", "drop_layers": [3, 1]}, 2),
        ({"strategy": "explicit", "keep_layers": [3, 1]}, 10),
    ],
)
def test_every_way_to_say_how_much(spec: dict[str, Any], count: int) -> None:
    assert len(plan(spec).dropped or []) == count


@pytest.mark.parametrize(
    ("spec", "code", "param", "words"),
    [
        ({"strategy": "topp"}, "unknown_strategy", "/prune/strategy", "did you mean top"),
        ({"drop": 2, "drop_ratio": 0.5}, "validation_failed", "/prune", "give one of drop, drop_ratio"),
        ({"drop_layers": [1]}, "validation_failed", "/prune/drop_layers", "does not take a list"),
        ({"strategy": "random", "keep_layers": [1]}, "validation_failed", "/prune/keep_layers", "does not take a list"),
        ({"strategy": "explicit"}, "validation_failed", "/prune/drop_layers", "takes drop_layers or keep_layers"),
        ({"strategy": "explicit", "drop": 2}, "validation_failed", "/prune/drop_layers", "takes drop_layers"),
        ({"threshold": 0.9}, "validation_failed", "/prune/threshold", "takes no threshold; these do: contribution"),
        ({"drop": 0}, "invalid_layers", "/prune/drop", "at least one of the 6 layers"),
        ({"drop": -2}, "invalid_layers", "/prune/drop", "not -2"),
        ({"drop": 6}, "invalid_layers", "/prune/drop", "drop at most 5, not 6"),
        ({"drop": 7}, "invalid_layers", "/prune/drop", "drop at most 5, not 7"),
        ({"strategy": "alternate_odd", "drop": 4}, "invalid_layers", "/prune/drop", "at most 3 of 6"),
        ({"strategy": "explicit", "drop_layers": [1, 1]}, "invalid_layers", "/prune/drop_layers", "more than once"),
        ({"strategy": "explicit", "drop_layers": [-1]}, "invalid_layers", "/prune/drop_layers", "do not exist"),
        ({"strategy": "explicit", "drop_layers": []}, "invalid_layers", "/prune/drop_layers", "empty"),
        ({"strategy": "explicit", "keep_layers": []}, "invalid_layers", "/prune/keep_layers", "empty"),
        ({"drop": 1, "protect_layers": [6]}, "invalid_layers", "/prune/protect_layers", "numbered 0 to 5"),
        ({"drop": 1, "protect_layers": [5]}, "invalid_layers", "/prune/protect_layers", "are protected"),
        (
            {"strategy": "explicit", "drop_layers": [1], "protect_layers": [1]},
            "invalid_layers", "/prune/protect_layers", "both protected and to be dropped",
        ),
        # The first layer is protected where layers are ranked: 5 of 6 are free, and this is known before any score.
        (
            {"strategy": "contribution", "drop": 5, "protect_layers": [0, 1]},
            "invalid_layers", "/prune/protect_layers", "only 4 are free",
        ),
        ({"strategy": "contribution", "drop": 6}, "invalid_layers", "/prune/drop", "drop at most 5"),
        ({"strategy": "parameter_variance", "drop": 0}, "invalid_layers", "/prune/drop", "at least one"),
        ({"target_params": 10_000}, "validation_failed", "/prune/target_params", "10000 parameters already"),
        ({"target_params": 4_999}, "validation_failed", "/prune/target_params", "one layer alone leaves 5000"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_field_to_blame(
    spec: dict[str, Any], code: str, param: str, words: str
) -> None:
    error = refusal(spec, model(6))
    assert (error.code, error.param) == (code, param)
    assert words in error.message


@pytest.mark.parametrize(
    "spec", [{"unknown": 1}, {"drop_ratio": 0}, {"drop_ratio": 1}, {"target_params": 0}, {"drop": 1.5}]
)
def test_fields_of_another_shape_are_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PruneSpec.model_validate(spec)


@pytest.mark.parametrize("unread", [{"parameters": None}, {"parameters_per_layer": None}, {"parameters_per_layer": []}])
def test_a_target_needs_a_model_whose_size_is_known(unread: dict[str, Any]) -> None:
    error = refusal({"target_params": 5_000}, model(6, **unread))
    assert (error.code, error.param) == ("validation_failed", "/prune/target_params")


# --- the plan


DROPPING = [name for name, row in STRATEGIES.items() if not row.searches and not row.drops_nothing]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("strategy", DROPPING)
def test_every_strategy_has_a_plan_on_every_architecture(strategy: str, architecture: str) -> None:
    row = STRATEGIES[strategy]
    amount = {"drop_layers": [2, 4]} if row.kind == "explicit" else {"drop": 2}
    facts = model(6, architecture=architecture)
    spec = {"strategy": strategy, **amount}
    if ARCHITECTURES[architecture].first_stays and strategy == "bottom":
        error = refusal(spec, facts)
        assert (error.code, error.param) == ("invalid_layers", "/prune/protect_layers")
        assert ARCHITECTURES[architecture].first_stays in error.message
        return
    if row.needs_importance:
        first = plan(spec, facts)
        assert first.kept is first.dropped is first.parameters_after is first.expected_speedup is None
        assert row.measure in first.warnings[0]
    one_a_layer = [0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    taken = [[abs(low - high) / 10 for high in range(7)] for low in range(7)] if row.drops_block else one_a_layer
    made = plan(spec, facts, importance=taken if row.needs_importance else None)
    assert made.importance == (None if not row.needs_importance else [0.2] * 5 if row.drops_block else one_a_layer)
    assert made.kept is not None
    assert made.dropped is not None
    assert sorted(made.kept + made.dropped) == list(range(6))
    assert made.expected_speedup == 1.5
    assert made.measure == row.measure
    shared = ARCHITECTURES[architecture].shared_layers
    assert made.parameters_after == (10_000 if shared else 8_000)
    assert made.bytes_after == (40_000 if shared else 32_000)
    assert any(ARCHITECTURES[architecture].note in warning for warning in made.warnings) or not shared


def test_the_first_layer_is_protected_where_layers_are_ranked_unless_asked_otherwise() -> None:
    importance = [0.9, 0.1, 0.2, 0.3, 0.4, 0.5]
    made = plan({"strategy": "contribution", "drop": 1}, model(6), importance=importance)
    assert (made.protected, made.dropped) == ([0], [5])
    asked = plan({"strategy": "contribution", "drop": 1, "protect_layers": []}, model(6), importance=importance)
    assert (asked.protected, asked.dropped) == ([], [0])
    assert plan({"strategy": "bottom", "drop": 1}).protected == []


def test_a_decoders_last_layer_is_protected_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES._rows, "bert", replace(ARCHITECTURES["bert"], kind="decoder"))
    importance = [0.1, 0.5, 0.4, 0.3, 0.2, 0.1]
    made = plan({"strategy": "block_influence", "drop": 1}, model(6), importance=importance)
    assert (made.protected, made.dropped) == ([0, 5], [4])
    asked = plan({"strategy": "block_influence", "drop": 1, "protect_layers": []}, model(6), importance=importance)
    assert asked.dropped == [5]
    assert plan({"strategy": "top", "drop": 1}, model(6)).dropped == [5]


def test_a_block_is_ranked_by_the_distance_across_as_many_layers_as_go() -> None:
    # From depth 2 to 3 the states hardly move, from 3 to 5 they do; over two layers, 3 to 5 and back is nearest.
    places = [0.0, 0.9, 0.2, 0.25, 0.6, 0.27, 0.9]
    distances = [[round(abs(a - b), 3) for b in places] for a in places]
    dropped = [plan({"strategy": "angular", "drop": n}, model(6), importance=distances).dropped for n in (1, 2, 3)]
    assert dropped == [[2], [3, 4], [2, 3, 4]]
    made = plan({"strategy": "angular", "drop": 2}, model(6), importance=distances)
    assert made.importance == [0.2, 0.65, 0.4, 0.02, 0.3]
    assert made.measure == "angular_distance"
    held = plan({"strategy": "angular", "drop": 2, "protect_layers": [4]}, model(6), importance=distances)
    assert held.dropped == [0, 1]
    error = refusal({"strategy": "angular", "drop": 3, "protect_layers": [2, 4]}, model(6), importance=distances)
    assert (error.code, error.param) == ("invalid_layers", "/prune/protect_layers")
    assert "no 3 layers in a row are free" in error.message
    error = refusal({"strategy": "angular", "drop": 3, "protect_layers": [2, 4]}, model(6))
    assert "no 3 layers in a row" in error.message, "known before there are scores"
    for drop in (-1, 0, 6, 9):
        assert refusal({"strategy": "angular", "drop": drop}, model(6), importance=distances).param == "/prune/drop"


def test_measuring_on_text_is_refused_on_two_lists_of_layers() -> None:
    facts = model(6, architecture="t5", stacks={"encoder": 3, "decoder": 3})
    for name, row in STRATEGIES.items():
        if row.needs_data:
            error = refusal({"strategy": name, "drop": {"encoder": 1}}, facts)
            assert (error.code, error.param) == ("validation_failed", "/prune/strategy")
            assert "t5 has two" in error.message


# --- calibration


@pytest.mark.parametrize(
    ("calibration", "param", "words"),
    [
        ({"rows": 0}, "/rows", "0 rows measures nothing"),
        ({"rows": -3}, "/rows", "at least 1"),
        ({"source": "text"}, "/dataset", "needs a dataset"),
        ({"source": "task", "dataset": "/data/a.txt"}, "/dataset", "for calibration on text"),
        ({"source": "task", "text_columns": ["text"]}, "/text_columns", "for calibration on text"),
        ({"text_columns": ["text"]}, "/text_columns", "for calibration on text"),
    ],
)
def test_a_calibration_that_cannot_be_is_refused(calibration: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(LayercutError, match=words) as caught:
        PruneSpec.model_validate({"strategy": "angular", "calibration": calibration})
    assert (caught.value.code, caught.value.param) == ("validation_failed", f"/prune/calibration{param}")


@pytest.mark.parametrize("strategy", ["top", "parameter_variance"])
def test_a_strategy_that_reads_no_text_takes_no_calibration(strategy: str) -> None:
    with pytest.raises(LayercutError, match="looks at no text") as caught:
        PruneSpec.model_validate({"strategy": strategy, "calibration": {"rows": 3}})
    assert caught.value.param == "/prune/calibration"
    spec = PruneSpec.model_validate({"strategy": strategy})
    assert PruneSpec.model_validate(spec.decided.model_dump()) == spec, "an echo may be sent again"


def test_auto_is_the_text_that_is_given_and_else_the_task() -> None:
    for given, source in (({}, "task"), ({"dataset": "/data/a.txt"}, "text")):
        spec = PruneSpec.model_validate({"strategy": "angular", "calibration": given})
        assert spec.decided.calibration.source == source
        assert PruneSpec.model_validate(spec.decided.model_dump()).decided == spec.decided


def test_a_threshold_waits_for_the_importance() -> None:
    spec = {"strategy": "contribution", "threshold": 0.45}
    assert plan(spec, model(6)).dropped is None
    assert plan(spec, model(6), importance=[0.9, 0.1, 0.5, 0.3, 0.4, 0.5]).dropped == [2, 5]
    assert refusal(spec, model(6), importance=[0.1] * 6).param == "/prune/threshold"
    assert refusal(spec, model(6), importance=[0.9] * 6).param == "/prune/threshold"


def test_random_layers_follow_the_jobs_seed() -> None:
    drawn = {tuple(plan({"strategy": "random", "drop": 4}, seed=seed).dropped or ()) for seed in range(20)}
    assert len(drawn) > 10


def test_a_model_that_was_not_read_still_has_a_plan() -> None:
    made = plan({"drop": 4}, model(parameters=None, parameters_per_layer=None, bytes=None))
    assert made.dropped == [8, 9, 10, 11]
    assert made.parameters_after is made.bytes_after is None


# --- an encoder and a decoder


def seq2seq(encoder: int = 6, decoder: int = 4) -> ModelFacts:
    return model(encoder + decoder, architecture="t5", stacks={"encoder": encoder, "decoder": decoder})


@pytest.mark.parametrize(
    ("spec", "dropped"),
    [
        ({}, [4, 5, 9]),
        ({"drop_ratio": 0.5}, [3, 4, 5, 8, 9]),
        ({"drop": {"encoder": 2, "decoder": 1}}, [4, 5, 9]),
        ({"drop": {"decoder": 1}}, [9]),
        ({"drop_ratio": {"encoder": 0.5}}, [3, 4, 5]),
        ({"strategy": "bottom", "drop": {"encoder": 1, "decoder": 2}}, [0, 6, 7]),
        ({"strategy": "explicit", "drop_layers": {"encoder": [1, 3], "decoder": [0]}}, [1, 3, 6]),
        ({"strategy": "explicit", "keep_layers": {"decoder": [0, 3]}}, [7, 8]),
    ],
)
def test_each_stack_loses_its_own_layers(spec: dict[str, Any], dropped: list[int]) -> None:
    made = plan(spec, seq2seq())
    assert made.dropped == dropped
    assert sorted((made.kept or []) + dropped) == list(range(10))
    assert made.parameters_after == 14_000 - 1_000 * len(dropped)
    assert made.stacks is not None
    assert made.stacks["encoder"].dropped == [layer for layer in dropped if layer < 6]
    assert made.stacks["decoder"].dropped == [layer - 6 for layer in dropped if layer >= 6]
    assert [made.stacks["encoder"].total, made.stacks["decoder"].total] == [6, 4]


def test_layers_are_ranked_within_a_stack_and_a_decoder_keeps_both_ends() -> None:
    spec = {"strategy": "parameter_aggregate", "drop": {"encoder": 1, "decoder": 1}}
    assert plan(spec, seq2seq()).dropped is None
    made = plan(spec, seq2seq(), importance=[0.1, 5, 5, 5, 5, 2, 0.1, 4, 3, 0.1])
    assert (made.dropped, made.protected) == ([5, 8], [0, 6, 9])
    alone = plan({"strategy": "parameter_aggregate", "drop": 1}, model(4, architecture="gpt2"), importance=[0, 2, 1, 0])
    assert (alone.dropped, alone.protected) == ([2], [0, 3])


@pytest.mark.parametrize(
    ("spec", "code", "param", "text"),
    [
        ({"drop": 2}, "validation_failed", "/prune/drop", '{"encoder": …, "decoder": …}'),
        ({"strategy": "explicit", "drop_layers": [1]}, "validation_failed", "/prune/drop_layers", "has an encoder and"),
        ({"target_params": 9_000}, "validation_failed", "/prune/target_params", "t5 has two"),
        ({"drop": {"encoder": 6}}, "invalid_layers", "/prune/drop", "encoder: the model has 6 layers"),
        ({"drop": {"decoder": 0}}, "invalid_layers", "/prune/drop", "decoder: at least one"),
        ({"drop": {}}, "validation_failed", "/prune", "neither"),
        (
            {"strategy": "explicit", "drop_layers": {"decoder": [4]}},
            "invalid_layers", "/prune/drop_layers", "decoder: layers [4] do not exist",
        ),
        ({"drop": {"encoder": 1}, "protect_layers": [0]}, "validation_failed", "/prune/protect_layers", "each with"),
    ],
)  # fmt: skip
def test_what_does_not_fit_two_stacks_is_refused(spec: dict[str, Any], code: str, param: str, text: str) -> None:
    error = refusal(spec, seq2seq())
    assert (error.code, error.param) == (code, param)
    assert text in error.message


def test_a_stack_is_not_named_where_there_is_one_list() -> None:
    error = refusal({"drop": {"encoder": 1}}, model(6))
    assert (error.code, error.param) == ("validation_failed", "/prune/drop")
    assert "bert has one list of layers" in error.message


# --- architectures


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_found_by_its_model_type(name: str) -> None:
    assert architecture_of({"model_type": name}) is ARCHITECTURES[name]


def test_an_unsupported_architecture_is_answered_with_the_list() -> None:
    with pytest.raises(LayercutError) as caught:
        architecture_of({"model_type": "mamba"})
    assert caught.value.code == "unsupported_architecture"
    assert all(name in caught.value.message for name in ARCHITECTURES)
    with pytest.raises(LayercutError, match="no model_type") as caught:
        architecture_of({})
    assert caught.value.code == "model_invalid"


def test_albert_with_several_groups_is_refused_with_the_reason() -> None:
    assert architecture_of({"model_type": "albert", "num_hidden_groups": 1}).shared_layers
    with pytest.raises(LayercutError, match="num_hidden_groups=3"):
        architecture_of({"model_type": "albert", "num_hidden_groups": 3})


@pytest.mark.parametrize(
    ("architecture", "name", "layer"),
    [
        ("bert", "bert.encoder.layer.11.attention.self.query.weight", 11),
        ("bert", "encoder.layer.0.output.dense.bias", 0),
        ("distilbert", "distilbert.transformer.layer.3.ffn.lin1.weight", 3),
        ("xlnet", "transformer.layer.7.ff.layer_1.weight", 7),
        ("xlnet", "layer.2.rel_attn.q", 2),
        ("bert", "bert.embeddings.word_embeddings.weight", None),
        ("bert", "bert.encoder.layer_norm.weight", None),
        ("xlnet", "transformer.layer_1.weight", None),
        ("deberta-v2", "deberta.encoder.conv.conv.weight", None),
        ("mpnet", "mpnet.encoder.relative_attention_bias.weight", None),
        ("gpt2", "transformer.h.11.attn.c_attn.weight", 11),
        ("gpt2", "h.3.mlp.c_fc.bias", 3),
        ("opt", "model.decoder.layers.2.fc1.weight", 2),
        ("llama", "model.layers.31.mlp.up_proj.weight", 31),
        ("bart", "model.decoder.layers.4.encoder_attn.k_proj.weight", 4),
        ("t5", "encoder.block.5.layer.1.DenseReluDense.wi.weight", 5),
    ],
)
def test_a_tensors_name_tells_its_layer(architecture: str, name: str, layer: int | None) -> None:
    found = ARCHITECTURES[architecture].place(name)
    assert (found.layer if found else None) == layer
