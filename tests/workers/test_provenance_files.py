"""Whose model it is goes with what is made of it: licenses, notices, and what its card says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from sources.beneath import Folder
from sources.chosen_files import choose_files
from sources.model_files import is_exported
from sources.terms import read_terms
from tests.support.tiny_models import tiny_model
from tests.support.whole_jobs import carry_out, own
from workers.settings import WorkerSettings

CARD = "---\nlanguage: de\nlicense: mit\ntags: [poems]\nbase_model: google-bert/bert-base-german-cased\n---\n# Poems\n"
TERMS = {"LICENSE": "MIT License, © Ada", "LICENSE-MODEL.txt": "as is", "NOTICE": "Made by Ada"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tiny_model("bert", tmp_path / "source", head="base", layers=3)
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    for name, text in TERMS.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "LICENSE.py").write_text("import os")
    (folder / "NOTICE-FONT").write_bytes(b"\x00\x01")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("how", ["copied from file to file", "saved anew", "trained"])
def test_they_go_with_the_model(how: str, source: Path, settings: WorkerSettings, table: Path) -> None:
    asked: dict[str, dict[str, Any]] = {
        "copied from file to file": {"task": "none"},
        "saved anew": {"task": "none", "export": {"dtype": "bfloat16"}},
        "trained": {"task": own(table), "recovery": {"method": "finetune", "epochs": 1}},
    }
    done = carry_out({"model": str(source), **asked[how]}, settings)
    for name, text in TERMS.items():
        assert (done.folder / name).read_text(encoding="utf-8") == text
    assert not list(done.folder.glob("*.py"))
    assert not (done.folder / "NOTICE-FONT").exists()
    assert all(is_exported(path.name) for path in done.folder.iterdir() if path.is_file())
    assert set(TERMS) <= {line.split("  ")[1] for line in (done.folder / "SHA256SUMS").read_text().splitlines()}
    data = ModelCard.load(done.folder / "README.md").data
    assert (data.language, data.license, data.base_model) == ("de", "mit", "google-bert/bert-base-german-cased")
    assert "poems" in data.tags
    assert "poems" in done.report.card.tags
    # And on, to what is made of this one.
    names = choose_files(Folder(done.folder, done.folder, id="job:x")).sizes
    assert read_terms(Folder(done.folder, done.folder, id="job:x"), names).keys() == TERMS.keys()
