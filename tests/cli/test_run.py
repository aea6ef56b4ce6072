"""`layercut run`: one's own files on one's own machine, with nothing set, and nothing left but the model."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.serve_process import LAYERCUT, environment
from tests.support.terminal import on_terminal
from tests.support.tiny_models import tiny_model

ROWS = [f"{'a joy full of wit' if row % 2 else 'a dull and lifeless story'} {row},{row % 2}" for row in range(60)]
RECOVERY = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3}
JOB = {
    "model": "models/bert",
    "task": {"dataset": "reviews.csv", "text_columns": ["text"], "label_column": "label"},
    "prune": {"drop": 1},
    "recovery": RECOVERY,
    "evaluation": {"latency": {"batch_sizes": []}},
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a model, a table, and a job file that names them from where it lies."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "models").mkdir()
    tiny_model("bert", folder / "models" / "bert", layers=3)
    (folder / "reviews.csv").write_text("\n".join(["text,label", *ROWS]) + "\n")
    (folder / "job.json").write_text(json.dumps(JOB))
    return folder


def run(home: Path, *arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LAYERCUT, "run", *map(str, arguments)],
        env={**environment(data_dir=home.parent / "data", device="cpu", **settings), "COLUMNS": "300"},
        cwd=home.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip


def last(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_job_that_cannot_work_ends_with_one_and_says_why_in_json_lines(home: Path) -> None:
    (home / "job.json").write_text(json.dumps({"model": "a/b", "task": "sst2", "prune": {"drop": "many"}}))
    done = run(home, home / "job.json", "--out", home / "out")
    assert done.returncode == 1
    assert last(done)["type"] == "job.failed"
    assert last(done)["data"]["error"]["param"] == "/prune/drop"
    assert sorted(path.name for path in home.iterdir()) == ["job.json", "models", "reviews.csv"]


def test_what_only_a_service_does_is_refused(home: Path) -> None:
    (home / "job.json").write_text(
        json.dumps({**JOB, "task": "none", "recovery": "none", "export": {"push_to": {"repo": "a/small"}}})
    )
    done = run(home, home / "job.json", "--out", home / "out")
    assert done.returncode == 1
    assert last(done)["data"]["error"]["param"] == "/export/push_to"


def test_a_path_that_leads_nowhere_is_told_with_the_places_that_were_looked_at(home: Path) -> None:
    (home / "job.json").write_text(json.dumps({**JOB, "task": {**JOB["task"], "dataset": "review.csv"}}))  # type: ignore[dict-item]
    done = run(home, home / "job.json", "--out", home / "out")
    error = last(done)["data"]["error"]
    assert (done.returncode, error["code"], error["param"]) == (1, "dataset_not_found", "/task/dataset")
    assert error["message"] == f"there is no 'review.csv' in {home} or {home.parent}"


def test_what_is_typed_wrongly_is_a_usage_error(home: Path) -> None:
    done = run(home, home / "nothing.json", "--out", home / "out")
    assert done.returncode == 2
    assert "does not exist" in done.stderr
    done = run(home, home / "job.json", "--out", home)
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert not list(home.glob(".*"))


@pytest.mark.slow
def test_files_are_named_from_where_the_job_file_lies_and_the_model_alone_is_left(home: Path) -> None:
    done = run(home, home / "job.json", "--out", "out/smaller")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["type"] == "job.succeeded"
    assert events[-1]["data"]["artifact"]["folder"] == str(home.parent / "out" / "smaller")
    out = home.parent / "out"
    assert [path.name for path in out.iterdir()] == ["smaller"]
    there = {path.name for path in (out / "smaller").iterdir()}
    assert {"config.json", "model.safetensors", "README.md", "report.json", "SHA256SUMS"} <= there
    assert [path.name for path in (out / "smaller").iterdir() if path.is_dir() or path.suffix == ".tar"] == ["figures"]
    assert list((home.parent / "data" / "runs").iterdir()) == []
    assert "the model is in out/smaller" in done.stderr


@pytest.mark.slow
def test_a_terminal_has_a_bar(home: Path) -> None:
    settings = environment(data_dir=home.parent / "data", device="cpu")
    code, shown = on_terminal([*LAYERCUT, "run", "job.json", "--out", "out"], settings, home, lambda *_: None)
    assert code == 0
    assert "baseline" in shown
    assert re.search(r"\d+ %.*2/11 baseline", shown)
    assert "succeeded" in shown
    assert '{"type"' not in shown


@pytest.mark.slow
@pytest.mark.long
def test_ctrl_c_leaves_nothing_and_the_next_run_goes_on(home: Path) -> None:
    (home / "job.json").write_text(json.dumps({**JOB, "recovery": {**RECOVERY, "epochs": 40}}))
    settings = environment(data_dir=home.parent / "data", device="cpu", checkpoint_seconds=0.01)

    told: list[bool] = []

    def interrupt(shown: str, process: subprocess.Popen[bytes]) -> None:
        # Not each step is shown.
        if not told and any(int(step) >= 20 for step in re.findall(r"step (\d+) of", shown)):
            told.append(True)
            os.killpg(process.pid, signal.SIGINT)

    command: list[object] = [*LAYERCUT, "run", "job.json", "--out", "out"]
    code, _ = on_terminal(command, settings, home, interrupt)
    assert code == 130
    assert sorted(path.name for path in home.iterdir()) == ["job.json", "models", "reviews.csv"]

    done = subprocess.run(list(map(str, command)), env=settings, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resumed at step" in done.stdout


def test_what_a_killed_run_left_goes_with_the_next(home: Path) -> None:
    left = home / ".out.run-2147483646"
    left.mkdir()
    (left / "half").write_text("a model")
    mine = home / f".out.run-{os.getpid()}"
    mine.mkdir()
    (home / "job.json").write_text("{}")
    assert run(home, home / "job.json", "--out", home / "out").returncode == 1
    assert not left.exists()
    assert mine.exists(), "somebody works there"


def test_a_run_of_the_same_number_as_the_killed_one_begins(home: Path) -> None:
    """In a container each run is process 1."""
    command = [*LAYERCUT, "run", "job.json", "--out", "out"]
    shell = f"mkdir .out.run-$$ && touch .out.run-$$/half && exec {shlex.join(map(str, command))}"
    (home / "job.json").write_text("{}")
    env = environment(data_dir=home.parent / "data", device="cpu")
    done = subprocess.run(["sh", "-c", shell], env=env, cwd=home, capture_output=True, text=True, check=False)
    assert last(done)["type"] == "job.failed", done.stderr
    assert list(home.glob(".out.run-*")) == []


def test_where_the_model_goes_is_looked_at_before_the_job_begins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell leaves it in ``--out=~/small``; and what a link leads to."""
    (home / "small").mkdir()
    (home / "small" / "mine").touch()
    (home / "link").symlink_to(home / "small")
    monkeypatch.setenv("HOME", str(home))
    for out in ("~/small", home / "link"):
        done = run(home, home / "job.json", f"--out={out}")
        assert (done.returncode, "is not empty" in done.stderr) == (2, True), done.stderr
