"""LAYERCUT_VERIFY_WITH: libraries of other versions that prove what a worker delivers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from api_schemas.errors import LayercutError
from api_schemas.reports import Check, OtherVersions, Verification
from tests.support.confined import Confined
from tests.support.peers import OLDEST, needs_peer
from tests.support.tiny_models import tiny_model
from tests.support.whole_jobs import carry_out
from workers.sandbox.sandbox import Sandbox
from workers.settings import WorkerSettings
from workers.stages import deliver
from workers.supervision.runner_environment import runner_environment


def folder_with(path: Path, text: str = "") -> Path:
    (path / "transformers").mkdir(parents=True)
    (path / "transformers" / "__init__.py").write_text(text)
    return path


def test_folders_without_transformers_are_refused_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = folder_with(tmp_path / "a"), folder_with(tmp_path / "b")
    monkeypatch.setenv("LAYERCUT_VERIFY_WITH", f"{first}:{second}")
    assert WorkerSettings().verify_with == [first, second]
    monkeypatch.setenv("LAYERCUT_VERIFY_WITH", f"{first}:{tmp_path}")
    with pytest.raises(ValidationError, match=rf"names {tmp_path}, and there is no transformers in it"):
        WorkerSettings()


def test_a_runner_that_is_locked_in_is_told_of_them_and_reads_them(tmp_path: Path) -> None:
    named = folder_with(tmp_path / "named", "VERSION = '4.57'")
    settings = WorkerSettings(data_dir=tmp_path / "data", verify_with=[named])
    if sys.platform != "linux" or not (sandbox := Sandbox.of(settings)).complete:
        pytest.skip("this host cannot lock a runner in")
    try:
        confined = Confined(sandbox, settings.scratch_root / "own")
        program = """
for folder in sys.argv[1:]:
    tried(folder.rpartition("/")[2], lambda: open(f"{folder}/transformers/__init__.py").read())
"""
        said = confined.outcomes(program, named, folder_with(tmp_path / "other"))
    finally:
        sandbox.close()
    assert said["named"] == "got \"VERSION = '4.57'\""
    assert said["other"].startswith("refused")
    told = runner_environment({"LAYERCUT_VERIFY_WITH": str(named)}, tmp_path)
    assert told["LAYERCUT_VERIFY_WITH"] == str(named)


def test_a_model_that_means_something_else_there_is_not_delivered() -> None:
    wrong = Check(name="outputs", passed=False, detail="largest difference 4.9")
    other = OtherVersions(versions={"transformers": "4.57.6"}, passed=False, checks=[wrong])
    with pytest.raises(LayercutError, match=r"with transformers 4.57.6: outputs: largest difference 4.9") as caught:
        deliver._require(Verification(passed=True, checks=[], others=[other]))
    assert caught.value.code == "verification_failed"
    # One that cannot read it says so to its user, who loses nothing.
    deliver._require(Verification(passed=True, checks=[], others=[other.model_copy(update={"passed": None})]))


@needs_peer(OLDEST)
@pytest.mark.slow
def test_a_job_says_which_versions_proved_its_model(tmp_path: Path, settings: WorkerSettings) -> None:
    both = settings.model_copy(update={"verify_with": [OLDEST]})
    source = tiny_model("llama", tmp_path / "source", head="causal_lm", rope_parameters={"rope_theta": 500.0})
    done = carry_out({"model": str(source), "task": "none"}, both)
    (other,) = done.report.verification.others
    assert other.passed
    assert other.versions["transformers"].startswith("4.57.")
    assert done.report.versions["transformers"] != other.versions["transformers"]
    assert f"Passed with transformers {other.versions['transformers']}" in (done.folder / "README.md").read_text()


@needs_peer(OLDEST)
@pytest.mark.slow
@pytest.mark.long
def test_a_job_says_which_versions_cannot_read_its_model(tmp_path: Path, settings: WorkerSettings) -> None:
    both = settings.model_copy(update={"verify_with": [OLDEST]})
    done = carry_out({"model": str(tiny_model("nomic_bert", tmp_path / "source")), "task": "none"}, both)
    assert done.report.verification.passed
    assert done.report.verification.others[0].passed is None
    (warning,) = [text for text in done.report.warnings if "4.57" in text]
    assert "cannot be loaded with transformers 4.57.6" in warning
    assert "NomicBertForSequenceClassification" in warning
