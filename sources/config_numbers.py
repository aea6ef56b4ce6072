"""Numbers of a ``config.json`` that a stock class could not be built with or run; no tensor is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

from api_schemas.architectures import Architecture, Config
from api_schemas.renumbering import PER_LAYER, layer_overrides
from sources.headers import invalid

#: Sizes, by whatever name a family has them. A config may leave one out, or say null: then the class has a default.
SIZES = (
    *("vocab_size", "max_position_embeddings", "n_positions", "embedding_size", "word_embed_proj_dim"),
    *("num_attention_heads", "n_heads", "n_head", "num_heads", "encoder_attention_heads", "decoder_attention_heads"),
    *("num_key_value_heads", "head_dim", "d_head", "d_kv", "intermediate_size", "hidden_dim", "d_inner", "d_ff"),
    *("n_inner", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "inner_group_num"),
)
#: These split the hidden size among them, where no size of a head is given. T5's heads have one of their own always.
HEADS = ("num_attention_heads", "n_heads", "n_head", "encoder_attention_heads", "decoder_attention_heads")
#: Which software of the machine where it was saved a model asks for, and what every machine has of that.
SOFTWARE = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")
EVERYWHERE = ("eager", "sdpa")


def is_size(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _short(value: Any) -> str:
    return repr(value)[:60]


def portable(config: Config) -> dict[str, Any]:
    """``config`` without what only some machines can do, flash attention for one, and what follows no weight."""
    return {name: value for name, value in config.items() if name not in SOFTWARE or value in EVERYWHERE}


def check_numbers(config: Config, architecture: Architecture, id: str) -> None:
    """Raise ``model_invalid`` for sizes that are none, or that do not fit each other."""
    fault = next(_faults(config, architecture), None)
    if fault is not None:
        raise invalid(f"config.json of {id!r} says {fault}")


def _faults(config: Config, architecture: Architecture) -> Iterator[str]:
    for name in SIZES:
        if config.get(name) is not None and not is_size(config[name]):
            yield f"{name} {_short(config[name])}, which must be a number of at least 1"
    yield from _shares(config, architecture)
    padding, vocabulary = config.get("pad_token_id"), config.get("vocab_size")
    if isinstance(padding, int) and is_size(vocabulary) and padding >= vocabulary:
        yield (
            f"pad_token_id {padding} and vocab_size {vocabulary}: the token for padding has no embedding. Give it one"
            " with model.resize_token_embeddings(len(tokenizer)), and save the model again"
        )
    yield from _misnumbered(config, architecture.sizes(config)[0])


def _shares(config: Config, architecture: Architecture) -> Iterator[str]:
    """Heads that do not divide what is split among them."""
    queries, keys = config.get("num_attention_heads"), config.get("num_key_value_heads")
    pairs = [(architecture.hidden_field, name) for name in HEADS] if config.get("head_dim") is None else []
    if queries is not None and keys is not None:
        pairs.append(("num_attention_heads", "num_key_value_heads"))
    for whole, name in pairs:
        if config.get(name) is not None and config[whole] % config[name]:
            yield f"{whole} {config[whole]} and {name} {config[name]}: the first must be a multiple of the second"


def _misnumbered(config: Config, layers: int) -> Iterator[str]:
    """What is told layer by layer, and not of the layers that there are."""
    found = config.get(PER_LAYER)
    told = layer_overrides(config)
    if found and PER_LAYER not in told:
        yield f"{PER_LAYER} that is not an object with layers' numbers for names"
    for name, overrides in told.items():
        numbers = [layer for layer, _ in overrides]
        if max(numbers) >= layers:
            yield f"{name} of layer {max(numbers)}, and {layers} layers, numbered from 0"
        elif len(set(numbers)) < len(numbers):
            yield f"{name} of one layer twice: {len(numbers)} names for {len(set(numbers))} layers"
    wrong = [layer for layer, value in told.get(PER_LAYER, []) if not isinstance(value, dict)]
    if wrong:
        yield f"{PER_LAYER} whose layer {wrong[0]} is not an object of fields"
