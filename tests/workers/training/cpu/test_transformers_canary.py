"""What the CPU engine takes for granted of ``transformers``: a failure names what an upgrade has moved.

README.md beside the engine says what to do then. That both compute the same is the matter of test_packed_encoder.py.
"""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tests.support.tiny_models import build, inputs_of
from workers.training.cpu.blocks import BLOCKS, encoder_of
from workers.training.cpu.contract import CAPTURING

INSTALLED = f"transformers {version('transformers')}"
ROOT = Path(__file__).parents[4]

#: The modules of a layer that compute, by the field of ``Block`` that has them; ``dropouts`` in its order.
BERT = {
    "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
    "mix": "attention.output.dense", "mixed_norm": "attention.output.LayerNorm",
    "widen": "intermediate.dense", "activation": "intermediate.intermediate_act_fn",
    "narrow": "output.dense", "norm": "output.LayerNorm",
}  # fmt: skip
BERT_DROPOUTS = ("attention.self.dropout", "attention.output.dropout", "output.dropout")
DISTILBERT = {
    "query": "attention.q_lin", "key": "attention.k_lin", "value": "attention.v_lin",
    "mix": "attention.out_lin", "mixed_norm": "sa_layer_norm",
    "widen": "ffn.lin1", "activation": "ffn.activation",
    "narrow": "ffn.lin2", "norm": "output_layer_norm",
}  # fmt: skip
DISTILBERT_DROPOUTS = ("attention.dropout", None, "ffn.dropout")
PARTS = {name: (BERT, BERT_DROPOUTS) for name in BLOCKS} | {"distilbert": (DISTILBERT, DISTILBERT_DROPOUTS)}
SELF_ATTENTION = {name: "attention.self" for name in BLOCKS} | {"distilbert": "attention"}
KINDS = {"mixed_norm": nn.LayerNorm, "norm": nn.LayerNorm} | dict.fromkeys(
    ("query", "key", "value", "mix", "widen", "narrow"), nn.Linear
)


def moved(family: str, what: str) -> str:
    return f"{INSTALLED}, {family}: {what}. See workers/training/cpu/README.md, When transformers changes"


def part_of(family: str, module: nn.Module, path: str) -> Any:
    """What lies at ``path``; fails with the name of the class that lacks the first part that is not there."""
    for name in path.split("."):
        assert hasattr(module, name), moved(family, f"{type(module).__name__} has no {name!r} (of {path})")
        module = getattr(module, name)
    return module


def layer_of(family: str, model: PreTrainedModel) -> nn.Module:
    encoder = part_of(family, model.base_model, BLOCKS[family][0])
    assert encoder is encoder_of(model)
    return part_of(family, encoder, "layer")[0]


def test_the_installed_version_is_one_that_is_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [Requirement(one) for one in project["optional-dependencies"]["worker"]]
    (bound,) = [one.specifier for one in asked if one.name == "transformers"]
    assert {one.operator for one in bound} == {">=", "<"}, "a bound at both ends"
    assert version("transformers") in bound, f"{INSTALLED} is installed, and pyproject.toml asks for {bound}"


@pytest.mark.parametrize("family", BLOCKS)
def test_a_layers_parts_have_their_names_and_kinds(family: str) -> None:
    layer = layer_of(family, build(family, layers=2))
    parts, dropouts = PARTS[family]
    for path in filter(None, (*parts.values(), *dropouts)):
        part_of(family, layer, path)
    block = BLOCKS[family][1](layer)
    for field, path in parts.items():
        part = part_of(family, layer, path)
        assert getattr(block, field) is part, f"blocks.py reads another {field} than {path}"
        kind = KINDS.get(field)
        assert kind is None or type(part) is kind, moved(family, f"{path} is a {type(part).__name__}")
        assert callable(part), moved(family, f"{path} cannot be called")


@pytest.mark.parametrize("family", BLOCKS)
def test_a_layer_has_no_parts_that_the_engine_does_not_know(family: str) -> None:
    layer = layer_of(family, build(family, layers=2))
    parts, dropouts = PARTS[family]
    found = {name for name, module in layer.named_modules() if not list(module.children())}
    new = found - {*parts.values(), *filter(None, dropouts)}
    assert not new, moved(family, f"{type(layer).__name__} has more than it had: {', '.join(sorted(new))}")
    loose = {name for name, _ in layer.named_parameters() if name.rpartition(".")[0] not in found}
    assert not loose, moved(family, f"{type(layer).__name__} has weights of its own: {', '.join(sorted(loose))}")


@pytest.mark.parametrize("family", BLOCKS)
def test_dropouts_and_heads_are_where_they_were(family: str) -> None:
    model = build(family, layers=2).train()
    layer = layer_of(family, model)
    _, dropouts = PARTS[family]
    rates = (0.1, 0.2, 0.3)
    for path, rate in zip(dropouts, rates, strict=True):
        if path is not None:
            dropout = part_of(family, layer, path)
            assert type(dropout) is nn.Dropout, moved(family, f"{path} is a {type(dropout).__name__}")
            dropout.p = rate
    block = BLOCKS[family][1](layer)
    wanted = tuple(0.0 if path is None else rate for path, rate in zip(dropouts, rates, strict=True))
    assert block.dropouts == wanted, moved(family, f"the dropouts are {block.dropouts}")
    assert block.heads == model.config.num_attention_heads, moved(family, f"there are {block.heads} heads")
    scale = part_of(family, layer, f"{SELF_ATTENTION[family]}.scaling")
    size = model.config.hidden_size // block.heads
    assert scale == pytest.approx(size**-0.5), moved(family, f"scores are scaled by {scale}")


@pytest.mark.parametrize("head", ["classification", "token_classification"])
@pytest.mark.parametrize("family", BLOCKS)
def test_the_base_model_gets_its_mask_by_name_and_gives_the_encoder_the_states_first(family: str, head: str) -> None:
    model, inputs, seen = build(family, head=head, layers=2), inputs_of(family), {}
    base, encoder = model.base_model, encoder_of(model)
    base.register_forward_pre_hook(lambda _, args, kwargs: seen.update(base=(args, kwargs)), with_kwargs=True)
    encoder.register_forward_pre_hook(lambda _, args, kwargs: seen.update(encoder=(args, kwargs)), with_kwargs=True)
    model(**inputs, output_hidden_states=True)
    for name in ("attention_mask", "output_hidden_states"):
        assert name in seen["base"][1], moved(family, f"the head gives {type(base).__name__} no {name} by name")
    args, kwargs = seen["encoder"]
    states = args[0] if args else kwargs.get("hidden_states")
    name = f"{type(base).__name__} calls {type(encoder).__name__}"
    assert isinstance(states, Tensor), moved(family, f"{name} without hidden_states")
    assert states.shape[:2] == inputs["input_ids"].shape, moved(family, f"{name} with states {tuple(states.shape)}")


@pytest.mark.parametrize("family", BLOCKS)
def test_the_base_model_does_without_a_mask(family: str) -> None:
    """The engine keeps the mask to itself: none is to be spread out for it, nor missed."""
    model, inputs = build(family, layers=2), inputs_of(family)
    seen: list[Any] = []
    encoder_of(model).register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs.get("attention_mask")), with_kwargs=True
    )
    model.set_attn_implementation("eager")
    model(**{**inputs, "attention_mask": None})
    assert seen == [None], moved(family, f"{type(model.base_model).__name__} makes a mask where it was given none")


@pytest.mark.parametrize("family", BLOCKS)
def test_the_head_reads_the_first_token_alone(family: str) -> None:
    model, inputs = build(family, layers=2), inputs_of(family)
    wanted = model(**inputs).logits

    def cut(_: nn.Module, __: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[:, :1]
        return output

    encoder_of(model).register_forward_hook(cut)
    name = type(model).__name__
    assert torch.equal(model(**inputs).logits, wanted), moved(family, f"{name} reads more than the first token")


@pytest.mark.parametrize("family", BLOCKS)
def test_hooks_that_collect_hidden_states_are_known_by_their_module(family: str) -> None:
    model = build(family, layers=2)
    assert not any(module._forward_hooks for module in model.modules())
    model(**inputs_of(family), output_hidden_states=True)
    found = {hook.__module__ for module in model.modules() for hook in module._forward_hooks.values()}
    assert found <= {CAPTURING}, moved(family, f"hooks of {', '.join(sorted(found))} stay on layers")


@pytest.mark.parametrize("family", BLOCKS)
def test_attention_can_be_chosen_by_name(family: str) -> None:
    model = build(family, layers=2)
    assert "sdpa" in ALL_ATTENTION_FUNCTIONS, moved(family, "no attention is called sdpa")
    chosen = getattr(model.config, "_attn_implementation", None)
    assert chosen == "sdpa", moved(family, f"config._attn_implementation is {chosen} without being asked for")
    model.set_attn_implementation("eager")
    assert model.config._attn_implementation == "eager", moved(family, "set_attn_implementation does not reach config")


def test_gemmas_table_says_what_it_is_scaled_by() -> None:
    """For workers/training/compact_embedding.py."""
    model = build("gemma3_text", layers=2)
    scale = part_of("gemma3_text", model.get_input_embeddings(), "scalar_embed_scale")
    assert scale == pytest.approx(model.config.hidden_size**0.5), moved(
        "gemma3_text", f"its table is scaled by {scale}"
    )


def test_the_canary_sings() -> None:
    """What is gone is named, with its class."""
    layer = layer_of("bert", build("bert", layers=2))
    del layer.attention.self.query
    with pytest.raises(AssertionError, match=r"bert: BertSelfAttention has no 'query' \(of attention\.self\.query\)"):
        part_of("bert", layer, BERT["query"])
