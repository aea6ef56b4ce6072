"""What a worker says that its device computes in."""

from __future__ import annotations

import pytest

from api_schemas.workers import About
from workers.supervision.about import auto_precision


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("NVIDIA H200", "bf16"),
        ("NVIDIA RTX 2000 Ada Generation", "bf16"),
        ("NVIDIA RTX 4090", "bf16"),
        ("NVIDIA L4", "bf16"),
        ("NVIDIA GeForce RTX 2080 Ti", "fp16"),
        ("Quadro RTX 6000", "fp16"),
        ("Tesla V100-SXM2-16GB", "fp16"),
        ("Tesla T4", "fp16"),
        ("NVIDIA T400 4GB", "fp16"),
    ],
)
def test_a_gpu_is_known_by_whole_words_of_its_name(name: str, precision: str) -> None:
    about = About(host="h", pid=1, version="0", device="cuda", gpu_name=name)
    assert auto_precision(about) == precision
