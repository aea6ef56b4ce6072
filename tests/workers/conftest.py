"""WorkerSettings of a worker with all it keeps in ``tmp_path``, and a small table to learn from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.whole_jobs import KIND, UNKIND
from workers.settings import WorkerSettings


@pytest.fixture
def settings(tmp_path: Path) -> WorkerSettings:
    return WorkerSettings(data_dir=tmp_path, model_roots=[tmp_path], data_roots=[tmp_path], device="cpu")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = ["text,mood"]
    for row in range(60):
        good = row % 2 == 0
        lines.append(f'"{(KIND if good else UNKIND)[row % 3]} {row}",{"kind" if good else "unkind"}')
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
