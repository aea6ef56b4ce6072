"""Tiny checkpoints, made without torch."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from safetensors.numpy import save

WIDTH = 8
PER_LAYER = WIDTH * WIDTH + WIDTH


def bert_config(layers: int = 3, **more: Any) -> dict[str, Any]:
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "num_hidden_layers": layers,
        "hidden_size": WIDTH,
        "vocab_size": 11,
        "max_position_embeddings": 64,
        **more,
    }


def bert_tensors(layers: int = 3, prefix: str = "", dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """PER_LAYER parameters a layer, 11 * WIDTH in the embeddings; old names and an integer buffer, as in real files."""
    tensors = {
        f"{prefix}embeddings.word_embeddings.weight": np.zeros((11, WIDTH), dtype),
        f"{prefix}embeddings.position_ids": np.zeros((1, 64), np.int64),
    }
    for layer in range(layers):
        tensors[f"{prefix}encoder.layer.{layer}.attention.self.query.weight"] = np.zeros((WIDTH, WIDTH), dtype)
        tensors[f"{prefix}encoder.layer.{layer}.output.LayerNorm.gamma"] = np.zeros(WIDTH, dtype)
    return tensors


def bert_files(layers: int = 3, **config: Any) -> dict[str, bytes]:
    """The files of a whole model."""
    return {
        "config.json": json.dumps(bert_config(layers, **config)).encode(),
        "model.safetensors": save(bert_tensors(layers)),
        "vocab.txt": b"[PAD]\n",
    }
