"""The folder's model and tokenizer by stock `transformers`, the probe, and how near is near enough."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoTokenizer

# Of the largest expected value: kernels may add up in another order, and nothing more.
TOLERANCES = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}

LOCAL: Any = {"local_files_only": True, "trust_remote_code": False}
Said = tuple[bool, str]


def probe(asked: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    tensors = load_file(asked["probe"])
    del tensors["expected_base"]
    return tensors, tensors.pop("expected")


def loader(folder: str, dtype: torch.dtype) -> Callable[[], tuple[Any, dict[str, Any]]]:
    """Loads once; every check that needs the model fails with the same words where it cannot be."""
    loaded_once: list[tuple[Any, dict[str, Any]]] = []

    def loaded() -> tuple[Any, dict[str, Any]]:
        if not loaded_once:
            loaded_once.append(load(folder, dtype))
        return loaded_once[0]

    return loaded


def load(folder: str, dtype: torch.dtype, stock_class: Any = None, **options: Any) -> tuple[Any, dict[str, Any]]:
    stock_class = stock_class or getattr(transformers, class_name(folder))
    model, info = stock_class.from_pretrained(
        folder, dtype=dtype, output_loading_info=True, use_safetensors=True, **LOCAL, **options
    )
    return model.eval(), info


def tokenizer_of(folder: str) -> Any:
    return AutoTokenizer.from_pretrained(folder, **LOCAL)


def class_name(folder: str) -> str:
    (name,) = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))["architectures"]
    return str(name)


def listed(found: Any) -> str:
    names = sorted(map(str, found))
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def of_text(outputs: Any, inputs: dict[str, Any]) -> Any:
    """Without those of padding, which nobody reads, and which no two releases have alike where all is masked."""
    mask = inputs["attention_mask"]
    return outputs[mask.bool()] if outputs.shape[:2] == mask.shape and outputs.ndim > 2 else outputs


def distance(found: Any, expected: Any) -> float:
    return float((found.float() - expected.float()).abs().max())


def tolerance(expected: Any) -> float:
    return TOLERANCES[expected.dtype] * max(1.0, float(expected.abs().max()))


def near(found: Any, expected: Any) -> bool:
    # Compared so that a NaN on either side fails.
    return distance(found, expected) <= tolerance(expected)
