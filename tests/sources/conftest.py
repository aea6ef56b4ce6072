"""A model folder to write into, and a hub of our own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sources.settings import SourceSettings


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a layercut of their own set up."""
    for name in SourceSettings.model_fields:
        monkeypatch.delenv(f"LAYERCUT_{name.upper()}", raising=False)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """Writes files into tmp_path/models/tiny and gives that folder."""

    def write(files: dict[str, bytes]) -> Path:
        folder = tmp_path / "models" / "tiny"
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return folder

    return write
