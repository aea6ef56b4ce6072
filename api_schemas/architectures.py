"""ARCHITECTURES: model families, and where each keeps its layers. One row a ``model_type`` of `transformers`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, Field

from api_schemas.errors import LayercutError
from api_schemas.registry import Registry

Config = Mapping[str, Any]

FULL, SLIDING = "full_attention", "sliding_attention"


@dataclass(frozen=True)
class Stack:
    """One list of layers: ``layers`` is its path inside the base model, ``count_field`` the config's number of them.

    ``default_field`` has the number where the config leaves ``count_field`` out. ``cache_field`` is written beside it:
    where stock `transformers` looks when it makes a key-value cache, which would have the encoder's layers without.
    """

    name: str
    layers: str
    count_field: str
    default_field: str = ""
    cache_field: str = ""

    def count(self, config: Config) -> Any:
        """As the config says it, which may be nothing, or no number."""
        found = config.get(self.count_field)
        return config.get(self.default_field) if found is None else found

    @cached_property
    def key(self) -> re.Pattern[str]:
        """Matches a tensor's name up to its layer's number (group 1), with or without the base model's prefix."""
        return re.compile(rf"^(?:.+?\.)?{re.escape(self.layers)}\.(\d{{1,6}})(?=\.)")


@dataclass(frozen=True)
class Place:
    """Where a tensor's name has the number of its layer: ``key[start:end]`` is ``layer``, of the stack ``stack``."""

    stack: int
    layer: int
    start: int
    end: int


@dataclass(frozen=True)
class Refusal:
    """A config that cannot lose layers and stay a stock model: ``field`` is anything but ``fine``, or absent."""

    field: str
    fine: Any
    why: str


@dataclass(frozen=True)
class Architecture:
    """One model family.

    ``layers``, ``count_field``: the list of layers, as in ``Stack``; an encoder-decoder has a second one, ``decoder``.
    Where layers are numbered through, the encoder's come first. ``per_layer_fields`` are config lists that have one
    entry a layer and are cut with the layers; ``implied_types`` is what a missing ``layer_types`` stands for, which
    follows from a layer's number and must be written down before the numbers change. ``number_fields`` are config
    fields that hold a layer's number. ``carried`` are the modules of a stack's first layer that serve all its layers:
    they move to the first layer that is kept. ``first_stays`` says why the first layer cannot go, where it cannot.
    ``embedding_field``: the width of token embeddings, where it need not be the layers'. ``unused_tokens``: those that
    the family's tokenizer has and some of its models have no embedding for: Gemma's for images, the mask of BARTs that
    were trained on summaries.
    ``summary`` is the place of the token that stands for the whole text. ``shared_layers``: one set of weights is run
    many times, so the count falls and the weights stay. ``time_first``: between layers, states are (tokens, batch,
    width) and not (batch, tokens, width). ``positions_after_padding``: positions are counted from
    ``pad_token_id + 1``, so the longest input is that much shorter than the table of positions. ``no_heads``: the auto
    classes, as in ``TaskKind``, that `transformers` has nothing behind for the family. ``hub_ids`` matches the ids of
    its models by those who made it: of families that cannot do all kinds of task, which may be said before the hub is.
    """

    name: str
    layers: str
    count_field: str = "num_hidden_layers"
    hidden_field: str = "hidden_size"
    embedding_field: str = ""
    positions_field: str = "max_position_embeddings"
    per_layer_fields: tuple[str, ...] = ("layer_types",)
    implied_types: Callable[[Config, int], list[str]] | None = None
    number_fields: tuple[str, ...] = ()
    kind: Literal["encoder", "decoder", "encoder-decoder"] = "encoder"
    decoder: Stack | None = None
    summary: Literal["first", "last"] = "first"
    shared_layers: bool = False
    carried: tuple[str, ...] = ()
    first_stays: str = ""
    time_first: bool = False
    positions_after_padding: bool = False
    unused_tokens: tuple[str, ...] = ()
    no_heads: tuple[str, ...] = ()
    hub_ids: str = ""
    refusals: tuple[Refusal, ...] = ()
    note: str = ""

    @cached_property
    def stacks(self) -> tuple[Stack, ...]:
        """The lists of layers: one, or the encoder's and the decoder's."""
        if self.decoder is None:
            return (Stack("layers", self.layers, self.count_field),)
        return (Stack("encoder", self.layers, self.count_field), self.decoder)

    def sizes(self, config: Config) -> tuple[int, ...]:
        """How many layers each stack has; ``config`` was checked."""
        return tuple(stack.count(config) for stack in self.stacks)

    def place(self, key: str) -> Place | None:
        """Where a tensor's name has its layer's number; None for a tensor of no layer."""
        for number, stack in enumerate(self.stacks):
            if found := stack.key.match(key):
                return Place(number, int(found[1]), *found.span(1))
        return None

    def is_carried(self, key: str, place: Place) -> bool:
        """Whether the tensor serves all layers of its stack, though it is named after the first."""
        return place.layer == 0 and key[place.end + 1 :].startswith(tuple(f"{path}." for path in self.carried))

    def check_config(self, config: Config) -> None:
        """Raise ``unsupported_architecture`` for a shape that cannot lose layers and stay a stock model."""
        for refusal in self.refusals:
            found = config.get(refusal.field) or refusal.fine
            if found != refusal.fine:
                message = f"{self.name} with {refusal.field}={str(found)[:60]}: {refusal.why}"
                raise LayercutError("unsupported_architecture", message, param="/model")


def _every(field: str, default: int, *, first: bool) -> Callable[[Config, int], list[str]]:
    """Of every ``config[field]`` layers the first, or the last, sees the whole text, and the others a window."""

    def types(config: Config, total: int) -> list[str]:
        found = config.get(field)
        every = found if isinstance(found, int) and found > 0 else default
        return [SLIDING if (layer + (not first)) % every else FULL for layer in range(total)]

    return types


def _window_above(config: Config, total: int) -> list[str]:
    """Qwen: where windows are in use at all, the layers from ``max_window_layers`` on have one."""
    windows = config.get("use_sliding_window", False) and config.get("sliding_window", 4096) is not None
    found = config.get("max_window_layers")
    first = total if not windows else found if isinstance(found, int) else 28
    return [SLIDING if layer >= first else FULL for layer in range(total)]


# Values that the rows below share.
_DECODER: dict[str, Any] = {"kind": "decoder", "summary": "last"}
_QWEN: dict[str, Any] = {**_DECODER, "implied_types": _window_above, "number_fields": ("max_window_layers",)}
_NO_TAGGER = ("AutoModelForTokenClassification",)
_TYPES_KEPT = "Each layer keeps its kind of attention: layer_types is written out and cut with the layers."

# fmt: off
ARCHITECTURES: Registry[Architecture] = Registry("architecture", "unsupported_architecture", (
    Architecture("bert", "encoder.layer"),
    Architecture("roberta", "encoder.layer", positions_after_padding=True),
    Architecture("camembert", "encoder.layer", positions_after_padding=True),
    Architecture("xlm-roberta", "encoder.layer", positions_after_padding=True),
    Architecture("distilbert", "transformer.layer", count_field="n_layers", hidden_field="dim"),
    Architecture("albert", "encoder.albert_layer_groups", embedding_field="embedding_size", shared_layers=True,
                 refusals=(Refusal("num_hidden_groups", 1, "which group a layer uses follows from the number of layers,"
                                   " so dropping some would change the weights of others; only one group is"
                                   " supported"),),
                 note="All layers share one set of weights: dropping layers saves time and no size."),
    Architecture("electra", "encoder.layer", embedding_field="embedding_size"),
    Architecture("mpnet", "encoder.layer", positions_after_padding=True,
                 note="The relative position bias is outside the layers and stays."),
    Architecture("xlnet", "layer", count_field="n_layer", hidden_field="d_model", summary="last",
                 time_first=True),
    Architecture("deberta", "encoder.layer", embedding_field="embedding_size",
                 note="The relative position embeddings are outside the layers and stay."),
    Architecture("deberta-v2", "encoder.layer", embedding_field="embedding_size",
                 note="Where conv_kernel_size is set, the convolution follows the first kept layer."),
    Architecture("modernbert", "layers", implied_types=_every("global_attn_every_n_layers", 3, first=True),
                 first_stays="it alone has no norm before its attention, and the stock class gives none to whichever"
                             " layer comes first",
                 note=f"{_TYPES_KEPT} The first layer cannot go."),
    Architecture("eurobert", "layers"),
    Architecture("nomic_bert", "layers"),
    Architecture("gpt2", "h", count_field="n_layer", hidden_field="n_embd", positions_field="n_positions", **_DECODER,
                 refusals=(Refusal("scale_attn_by_inverse_layer_idx", False, "a layer's attention is scaled by its"
                                   " number, so layers would change with their numbers"),)),
    Architecture("opt", "decoder.layers", embedding_field="word_embed_proj_dim", no_heads=_NO_TAGGER,
                 hub_ids=r"facebook/opt-.+", **_DECODER),
    Architecture("llama", "layers", **_DECODER),
    Architecture("mistral", "layers", **_DECODER),
    Architecture("qwen2", "layers", **_QWEN, note=_TYPES_KEPT),
    Architecture("qwen3", "layers", **_QWEN, note=_TYPES_KEPT),
    Architecture("gemma", "layers", **_DECODER),
    Architecture("gemma2", "layers", implied_types=_every("", 2, first=False), **_DECODER, note=_TYPES_KEPT),
    Architecture("gemma3_text", "layers", implied_types=_every("sliding_window_pattern", 6, first=False), **_DECODER,
                 unused_tokens=("<image_soft_token>",), no_heads=_NO_TAGGER,
                 hub_ids=r"google/gemma-3-(270m|1b)(-.+)?",
                 refusals=(Refusal("use_bidirectional_attention", False, "the stock config halves its window again each"
                                   " time that it is loaded, so no saved copy is like the original"),),
                 note=_TYPES_KEPT),
    Architecture("phi3", "layers", **_DECODER),
    Architecture("t5", "encoder.block", count_field="num_layers", hidden_field="d_model", positions_field="",
                 kind="encoder-decoder",
                 hub_ids=r"(google-t5/)?t5-(small|base|large|3b|11b)|google/((flan-t5|t5-v1_1|t5-efficient|byt5)-.+|"
                         r"(flan-)?ul2)",
                 decoder=Stack("decoder", "decoder.block", "num_decoder_layers", "num_layers", "decoder_layers"),
                 carried=("layer.0.SelfAttention.relative_attention_bias",),
                 note="The relative position bias of a stack is in its first layer and serves all: it moves to the"
                      " first kept layer, which computes the same with it."),
    Architecture("bart", "encoder.layers", count_field="encoder_layers", hidden_field="d_model",
                 unused_tokens=("<mask>",), no_heads=_NO_TAGGER,
                 hub_ids=r"facebook/bart-.+|sshleifer/distilbart-.+",
                 kind="encoder-decoder", decoder=Stack("decoder", "decoder.layers", "decoder_layers")),
))
# fmt: on


def family_named(id: str) -> Architecture | None:
    """The family of a hub model whose id tells it; None for any other."""
    return next((row for row in ARCHITECTURES.values() if row.hub_ids and re.fullmatch(row.hub_ids, id)), None)


class ModelFacts(BaseModel):
    """What can be known of a model from its config and the headers of its safetensors files, without loading it."""

    id: str = Field(description="how the request names it")
    revision: str | None = Field(default=None, description="the commit, of a model of the hub")
    architecture: str = Field(description="`model_type` of its config: a name of GET /v1/architectures")
    classes: list[str] = Field(default=[], description="config.architectures: the stock classes it was saved from")
    layers: int = Field(description="how many can be told apart; of an encoder-decoder both stacks together")
    stacks: dict[str, int] | None = Field(
        default=None, description="layers of the encoder and of the decoder, where it has both; `layers` is their sum"
    )
    hidden_size: int = Field(description="width of the hidden states")
    vocabulary: int | None = Field(default=None, description="tokens that have an embedding")
    num_labels: int | None = Field(default=None, description="labels of its trained classification head, if it has one")
    labels: list[str] | None = Field(default=None, description="what its head calls these, in the order of its outputs")
    max_positions: int | None = Field(default=None, description="longest input in tokens, where the config says one")
    parameters: int | None = Field(default=None, description="in all; null where the weights were not looked at")
    parameters_per_layer: list[int] | None = Field(default=None, description="parameters of each layer, in their order")
    bytes: int | None = Field(default=None, description="of the weights, all files together")
    dtype: str | None = Field(default=None, description="of most weights, as in float32")
    license: str | None = Field(default=None, description="as its card says")
    modules: list[str] | None = Field(
        default=None,
        description="of a sentence-transformers folder that stays one: what a text goes through, the Transformer first",
    )


def architecture_of(config: dict[str, Any]) -> Architecture:
    """The row of a ``config.json``; raises ``unsupported_architecture`` with the list of what is supported."""
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise LayercutError("model_invalid", "config.json has no model_type", param="/model")
    row = ARCHITECTURES.get(model_type)
    if row is None:
        raise LayercutError(
            "unsupported_architecture",
            f"architecture {model_type!r} is not supported; supported: {', '.join(ARCHITECTURES)}",
            param="/model",
        )
    row.check_config(config)
    return row
