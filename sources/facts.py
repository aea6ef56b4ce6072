"""From a config and the names and shapes of its tensors to ``ModelFacts``; no file and no network is touched."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from api_schemas.architectures import Architecture, ModelFacts, architecture_of
from api_schemas.errors import LayercutError
from sources.config_bounds import check_bounds
from sources.config_keys import check_keys, short
from sources.config_numbers import check_numbers, is_size
from sources.headers import MAX_TENSORS, Tensor, invalid
from sources.tensor_shapes import check_names, check_shapes

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

# Far above any model there is: a number in a config must not decide how much memory a plan takes.
MAX_LAYERS = 1024

# Of a head's labels: as many as a task may have, and as long as one may be.
MAX_WORDS, LONGEST_WORD = 1000, 500

# Integer tensors are buffers (position_ids), not parameters.
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}

# Buffers of floats: the causal masks that GPT-2's files carry, and the frequencies in old Llama files.
BUFFERS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")

# The classes whose head gives each text, or each word, labels.
HEAD_CLASSES = ("ForSequenceClassification", "ForTokenClassification")

# The last tensor of a classification head, by family; its first dimension is the number of labels.
HEADS = (
    "classifier.weight",
    "classifier.out_proj.weight",
    "logits_proj.weight",
    "score.weight",
    "classification_head.out_proj.weight",
)

MAX_SHARDS = 1000
#: Numbers of layers in a message.
SHOWN = 50
SHARD = re.compile(r"[^/\\\0\r\n]{1,200}\.safetensors")

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def check_config(config: Any, id: str) -> Architecture:
    """The architecture of a ``config.json`` that stock `transformers` loads without running anyone's code.

    Raises ``model_not_allowed`` for remote code, ``model_invalid`` and ``unsupported_architecture``.
    """
    if not isinstance(config, dict):
        raise invalid(f"config.json of {id!r} is not a JSON object")
    if "auto_map" in config:
        raise LayercutError(
            "model_not_allowed",
            f"config.json of {id!r} asks for remote code (auto_map); layercut never runs a model's own code:"
            " use a model of a stock class",
            param="/model",
        )
    if config.get("quantization_config"):
        raise invalid(f"{id!r} is quantized; layercut prunes float weights: use the model that it was made from")
    check_keys("config.json", config, id)
    architecture = architecture_of(config)
    _check_fields(config, architecture, id)
    return architecture


def _check_fields(config: dict[str, Any], architecture: Architecture, id: str) -> None:
    """Numbers that are numbers, and lists with one entry a layer."""
    counts = {stack.count_field: stack.count(config) for stack in architecture.stacks}
    for field, value in {**counts, architecture.hidden_field: config.get(architecture.hidden_field)}.items():
        if not is_size(value):
            raise invalid(f"config.json of {id!r} has no {field}, a number of at least 1")
        if field in counts and value > MAX_LAYERS:
            raise invalid(f"config.json of {id!r} says more than {MAX_LAYERS} layers ({field})")
    for field in architecture.per_layer_fields:
        listed = config.get(field)
        if listed is not None and (not isinstance(listed, list) or len(listed) != architecture.sizes(config)[0]):
            raise invalid(f"{field} in config.json of {id!r} is not a list with one entry a layer")
    check_numbers(config, architecture, id)


def choose_weights(names: Collection[str], id: str) -> str:
    """The file that `transformers` would load: the one file of weights, or the index of many."""
    for name in (WEIGHTS, INDEX):
        if name in names:
            return name
    pickles = sorted(name for name in names if name.endswith(PICKLES) and "/" not in name)
    if pickles:
        raise invalid(
            f"{id!r} has pickle weights only ({', '.join(pickles[:3])}), which can run code and are never loaded:"
            " save it again with save_pretrained, which writes safetensors"
        )
    raise invalid(f"{id!r} has no weights: neither {WEIGHTS} nor {INDEX}")


def read_index(index: Any, id: str) -> dict[str, str]:
    """Which file each tensor is in; raises ``model_invalid`` for one that is no plain file name."""
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
        raise invalid(f"{INDEX} of {id!r} has no weight_map of tensor names to files")
    files = set(shards.values())
    if len(shards) > MAX_TENSORS or len(files) > MAX_SHARDS:
        raise invalid(
            f"{INDEX} of {id!r} lists {len(shards)} tensors in {len(files)} files; at most {MAX_TENSORS} and"
            f" {MAX_SHARDS} are read"
        )
    for name in sorted(files):
        if not SHARD.fullmatch(name):
            raise invalid(f"{INDEX} of {id!r} lists {short(name)}, which is not a safetensors file beside it")
    return shards


def merge_shards(parts: dict[str, dict[str, Tensor]], weight_map: dict[str, str], id: str) -> dict[str, Tensor]:
    """All tensors of the shards (``parts``, by file name).

    Raises ``model_invalid`` for one that is in two of them, and for one that is not where ``weight_map`` says.
    """
    merged: dict[str, Tensor] = {}
    home: dict[str, str] = {}
    for file, tensors in parts.items():
        for name in tensors:
            if name in home:
                raise invalid(f"{id!r} has the tensor {name!r} twice, in {home[name]!r} and in {file!r}")
            home[name] = file
        merged.update(tensors)
    lost = sorted(name for name, file in weight_map.items() if home.get(name) != file)
    if lost:
        raise invalid(f"{INDEX} of {id!r} says that {lost[0]!r} is in {weight_map[lost[0]]!r}, and it is not")
    return merged


def make_facts(
    id: str,
    config: dict[str, Any],
    *,
    revision: str | None = None,
    license: str | None = None,
    tensors: dict[str, Tensor] | None = None,
    size: int | None = None,
) -> ModelFacts:
    """``tensors`` None: the weights were not looked at. ``size`` is that of the weight files, in bytes."""
    architecture = check_config(config, id)
    sizes = architecture.sizes(config)
    names = [stack.name for stack in architecture.stacks]
    facts = ModelFacts(
        id=id,
        revision=revision,
        architecture=architecture.name,
        classes=config.get("architectures") or [],
        layers=sum(sizes),
        stacks=dict(zip(names, sizes, strict=True)) if len(sizes) > 1 else None,
        hidden_size=config[architecture.hidden_field],
        vocabulary=config["vocab_size"] if is_size(config.get("vocab_size")) else None,
        max_positions=_max_positions(config, architecture),
        bytes=size,
        license=license,
    )
    if tensors is None:
        check_bounds(config, architecture, None, id)
        return facts
    check_names(tensors, id)
    weights = _weight_facts(facts, architecture, tensors, _label_words(config))
    check_shapes(config, architecture, tensors, id)
    check_bounds(config, architecture, tensors, id)
    return facts.model_copy(update=weights)


def _label_words(config: dict[str, Any]) -> list[str] | None:
    """Of ``id2label``, in the order of the outputs; stock `transformers` says LABEL_n where it is not written."""
    named = config.get("id2label")
    if named is None:
        count = config.get("num_labels", 2)
        return [f"LABEL_{at}" for at in range(count)] if isinstance(count, int) and 0 < count <= MAX_WORDS else None
    if not isinstance(named, dict) or len(named) > MAX_WORDS:
        return None
    words = [named.get(str(at)) for at in range(len(named))]
    return [str(word)[:LONGEST_WORD] for word in words] if all(isinstance(word, (str, int)) for word in words) else None


def _weight_facts(
    facts: ModelFacts, architecture: Architecture, tensors: dict[str, Tensor], words: list[str] | None
) -> dict[str, Any]:
    weights = {
        name: tensor for name, tensor in tensors.items() if tensor.dtype in DTYPES and not name.endswith(BUFFERS)
    }
    if not weights:
        found = ", ".join(sorted({tensor.dtype for tensor in tensors.values()})) or "none"
        raise invalid(f"{facts.id!r} has no float weights; the tensors' types are: {found}")
    by_dtype: dict[str, int] = {}
    for tensor in weights.values():
        by_dtype[tensor.dtype] = by_dtype.get(tensor.dtype, 0) + tensor.size
    return {
        "parameters": sum(by_dtype.values()),
        "parameters_per_layer": _per_layer(facts, architecture, weights),
        "dtype": DTYPES[max(by_dtype, key=lambda name: by_dtype[name])],
        "num_labels": _head_labels(facts, weights),
        "labels": words if words and len(words) == _head_labels(facts, weights) else None,
    }


def _per_layer(facts: ModelFacts, architecture: Architecture, weights: dict[str, Tensor]) -> list[int] | None:
    counts = [1] if architecture.shared_layers else list((facts.stacks or {"": facts.layers}).values())
    sizes: list[dict[int, int]] = [{} for _ in counts]
    for name, tensor in weights.items():
        place = architecture.place(name)
        if place and not architecture.is_carried(name, place):
            layers = sizes[place.stack]
            layers[place.layer] = layers.get(place.layer, 0) + tensor.size
    for stack, count, layers in zip(architecture.stacks, counts, sizes, strict=True):
        if sorted(layers) != list(range(count)):
            found = (
                ", ".join(map(str, sorted(layers)[:SHOWN])) or f"none: no tensor is named …{stack.layers}.<number>.…"
            )
            raise invalid(
                f"the config of {facts.id!r} says {count} layers ({stack.count_field}), and the weights hold"
                f" layers {found}"
            )
    if architecture.shared_layers:
        return None
    return [layers[layer] for count, layers in zip(counts, sizes, strict=True) for layer in range(count)]


def _head_labels(facts: ModelFacts, weights: dict[str, Tensor]) -> int | None:
    if not any(name.endswith(HEAD_CLASSES) for name in facts.classes):
        return None
    return next((weights[name].shape[0] for name in HEADS if name in weights and weights[name].shape), None)


def _max_positions(config: dict[str, Any], architecture: Architecture) -> int | None:
    positions = config.get(architecture.positions_field)
    if not isinstance(positions, int) or positions < 1:
        return None
    if not architecture.positions_after_padding:
        return positions
    padding = config.get("pad_token_id")
    return positions - (padding if isinstance(padding, int) else 1) - 1
