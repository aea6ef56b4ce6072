"""Tiny sentence-transformers folders, and what their vectors must be when layers go."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from api_schemas.architectures import ARCHITECTURES
from tests.support.tiny_models import SENTENCES, tiny_model
from workers.export.verification.embedding_checks import load_embedding_model

WIDTH = 32
#: Longer than 16 tokens, and in capitals.
TEXTS = [*SENTENCES[:3], " ".join(SENTENCES), SENTENCES[4].upper()]
POOLING = {"word_embedding_dimension": WIDTH, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
NORMALIZE = ("Normalize", {}, {})


def dense(width: int, out: int, activation: str = "torch.nn.modules.activation.Tanh") -> tuple[str, Any, Any]:
    config = {"in_features": width, "out_features": out, "bias": True, "activation_function": activation}
    drawn = torch.Generator().manual_seed(1)
    bias = torch.randn(out, generator=drawn)
    weights = {"linear.weight": torch.randn(out, width, generator=drawn), "linear.bias": bias}
    return "Dense", config, weights


def add_modules(
    folder: Path,
    pooling: dict[str, Any] = POOLING,
    *more: tuple[str, dict[str, Any], dict[str, torch.Tensor]],
    home: str = "sentence_transformers.models",
    settings: dict[str, Any] | None = None,
    **transformer: Any,
) -> Path:
    """Make ``folder`` one of sentence-transformers, as its releases 2 to 5 wrote it.

    ``more`` are class, config and weights of what follows the pooling; ``transformer`` the settings of the first.
    """
    rows = [("Pooling", pooling, {}), *more]
    listed = [{"idx": 0, "name": "0", "path": "", "type": f"{home}.Transformer"}]
    for number, (name, config, weights) in enumerate(rows, 1):
        path = folder / f"{number}_{name}"
        listed.append({"idx": number, "name": str(number), "path": path.name, "type": f"{home}.{name}"})
        path.mkdir()
        if config:
            (path / "config.json").write_text(json.dumps(config))
        if weights:
            save_file(weights, path / "model.safetensors")
    write_json(folder / "modules.json", listed)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 16, "do_lower_case": False, **transformer})
    write_json(folder / "config_sentence_transformers.json", settings or {"prompts": {}, "default_prompt_name": None})
    return folder


def embedding_model(folder: Path, *more: Any, architecture: str = "bert", head: str = "base", **options: Any) -> Path:
    tiny_model(architecture, folder, head=head, initializer_range=0.3)
    return add_modules(folder, options.pop("pooling", POOLING), *more, **options)


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def cut_by_hand(source: Path, kept: Sequence[int], architecture: str = "bert") -> Any:
    """The source in stock sentence-transformers, with the other layers taken out of its model."""
    model = load_embedding_model(str(source), torch.float32)
    (stack,) = ARCHITECTURES[architecture].stacks
    parent, _, name = stack.layers.rpartition(".")
    layers = model[0].auto_model.get_submodule(stack.layers)
    setattr(model[0].auto_model.get_submodule(parent), name, nn.ModuleList([layers[index] for index in kept]))
    return model


def distance(folder: Path, expected: Any, texts: Sequence[str] = TEXTS, **options: Any) -> float:
    """The largest difference between what the folder, and what the model ``expected``, make of texts."""
    found = load_embedding_model(str(folder), torch.float32)
    options = {"convert_to_tensor": True, "show_progress_bar": False, **options}
    return float((found.encode(list(texts), **options) - expected.encode(list(texts), **options)).abs().max())
