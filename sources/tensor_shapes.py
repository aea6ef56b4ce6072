"""What a config says of its tensors' shapes against the headers of the files: both are known before anything loads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from api_schemas.architectures import Architecture, Config
from sources.config_numbers import is_size
from sources.headers import Tensor, invalid

Tensors = Mapping[str, Tensor]

#: How families call their table of token embeddings, at the end of the tensor's name.
TOKENS = (
    "word_embeddings.weight",
    "tok_embeddings.weight",
    "embed_tokens.weight",
    "wte.weight",
    "shared.weight",
    "word_embedding.weight",
)
#: OPT and BART begin to count positions at 2.
LEARNED_OFFSET = 2


@dataclass(frozen=True)
class Dimension:
    """``axis`` of the tensors named ``…suffixes`` is ``expected``, which the config gives or leaves open (None)."""

    suffixes: tuple[str, ...]
    axis: int
    told: str
    expected: Callable[[Config, Architecture], int | None]


def _field(name: str, more: int = 0) -> Callable[[Config, Architecture], int | None]:
    def expected(config: Config, _: Architecture) -> int | None:
        found = config.get(name)
        return found + more if is_size(found) else None

    return expected


def _width(config: Config, architecture: Architecture) -> int | None:
    return _field(architecture.embedding_field or architecture.hidden_field)(config, architecture)


def _positions(config: Config, architecture: Architecture) -> int | None:
    """DeBERTa leaves the table unused where positions are told to attention alone."""
    if config.get("position_biased_input") is False:
        return None
    return _field(architecture.positions_field)(config, architecture)


def _heads(name: str) -> Callable[[Config, Architecture], int | None]:
    """All heads' rows together; open where the config leaves their size to the class."""

    def expected(config: Config, _: Architecture) -> int | None:
        heads, one = config.get(name), config.get("head_dim")
        return heads * one if is_size(heads) and is_size(one) else None

    return expected


DIMENSIONS = (
    Dimension(TOKENS, 0, "vocab_size", _field("vocab_size")),
    Dimension(TOKENS, 1, "the width of its embeddings", _width),
    Dimension(("position_embeddings.weight", "wpe.weight"), 0, "its positions", _positions),
    Dimension(
        ("embed_positions.weight",), 0, f"max_position_embeddings + {LEARNED_OFFSET}",
        _field("max_position_embeddings", LEARNED_OFFSET),
    ),
    Dimension(("token_type_embeddings.weight",), 0, "type_vocab_size", _field("type_vocab_size")),
    Dimension(("intermediate.dense.weight", "mlp.up_proj.weight"), 0, "intermediate_size", _field("intermediate_size")),
    Dimension(("ffn.lin1.weight",), 0, "hidden_dim", _field("hidden_dim")),
    Dimension(("self_attn.q_proj.weight",), 0, "the rows of num_attention_heads", _heads("num_attention_heads")),
    Dimension(("self_attn.k_proj.weight",), 0, "the rows of num_key_value_heads", _heads("num_key_value_heads")),
)  # fmt: skip

BY_SUFFIX: dict[str, list[Dimension]] = {}
for _dimension in DIMENSIONS:
    for _suffix in _dimension.suffixes:
        BY_SUFFIX.setdefault(_suffix, []).append(_dimension)

#: A module that a wrapper puts around the model, whose name then stands in every tensor's: who does that, and what to
#: save instead.
WRAPPERS = {
    "_orig_mod": ("torch.compile", "model._orig_mod"),
    "module": ("DataParallel or DistributedDataParallel", "model.module"),
    "_fsdp_wrapped_module": ("FullyShardedDataParallel", "the model that it wraps"),
    "_checkpoint_wrapped_module": ("a wrapper for activation checkpointing", "the model that it wraps"),
}


def check_names(tensors: Tensors, id: str) -> None:
    """Raise ``model_invalid`` for tensors that are named as a wrapper names them: no stock class finds those."""
    for name in tensors:
        segment = next((part for part in name.split(".") if part in WRAPPERS), None)
        if segment is not None:
            by, inner = WRAPPERS[segment]
            raise invalid(
                f"{id!r} was saved from inside {by}: its tensors have {segment + '.'!r} in their names ({name!r}, for"
                f" one), and no class of transformers finds them. Save {inner} with save_pretrained"
            )


def check_shapes(config: Config, architecture: Architecture, tensors: Tensors, id: str) -> None:
    """Raise ``model_invalid``, with both numbers, where the weights are not those of the config."""
    for name, tensor in tensors.items():
        for dimension in _of(name):
            expected = dimension.expected(config, architecture)
            found = tensor.shape[dimension.axis] if len(tensor.shape) > dimension.axis else None
            if expected is not None and found != expected:
                raise invalid(
                    f"{name} of {id!r} has the shape {list(tensor.shape)}, and config.json says {expected}"
                    f" ({dimension.told}) for its {('first', 'second')[dimension.axis]} number: save model and config"
                    " together with save_pretrained"
                )


def token_rows(tensors: Tensors) -> int | None:
    """How many tokens have an embedding; None where no table of them is known by its name."""
    tables = (tensor for name, tensor in tensors.items() if tensor.shape and _ends(name)[0] in TOKENS)
    return next((tensor.shape[0] for tensor in tables), None)


def _of(name: str) -> Iterator[Dimension]:
    """By look-up: a header may have tens of thousands of names."""
    return (dimension for end in _ends(name) for dimension in BY_SUFFIX.get(end, ()))


def _ends(name: str) -> tuple[str, ...]:
    """The last two parts of the name, and the last three."""
    parts = name.rsplit(".", 3)
    return ".".join(parts[-2:]), *((".".join(parts[-3:]),) if len(parts) > 2 else ())
