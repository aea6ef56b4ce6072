"""A model folder to write into, and a hub of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from sources.settings import SourceSettings
from tests.support.hub_server import HubServer


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


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """An empty hub that the client in this process talks to, with an empty cache and no token."""
    with HubServer() as server:
        # The client reads its environment when it is imported.
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "")
        yield server
        close_session()
