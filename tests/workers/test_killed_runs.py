"""Real runner processes, killed with no warning and run again: the exported weights are those of a run left alone."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.serve_process import environment
from tests.support.tiny_models import tiny_model

RUNNER = [sys.executable, "-P", "-m", "workers.runner"]
EPOCHS, ROWS, BATCH = 6, 60, 8
#: Of the baseline and of the recovery alike: a tenth of the 60 rows is dev.
STEPS = EPOCHS * -(-54 // BATCH)

Line = dict[str, Any]


class Job:
    """A job file, and the runs of it."""

    def __init__(self, folder: Path, more: dict[str, Any] | None = None, **evaluation: Any) -> None:
        self.folder = folder
        rows = [f"{'a joy full of wit' if r % 2 else 'a dull and lifeless story'} {r},{r % 2}" for r in range(ROWS)]
        (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
        self.request = {
            "model": str(tiny_model("bert", folder / "bert", layers=3)),
            "task": {"dataset": str(folder / "reviews.csv"), "text_columns": ["text"], "label_column": "label"},
            "prune": {"drop": 1},
            "recovery": {"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": 1e-3, "weight_decay": 0.01},
            "evaluation": {"latency": {"batch_sizes": []}, **evaluation},
            **(more or {}),
        }

    def run(self, name: str, attempt: int, stop: Callable[[Line], bool], how: signal.Signals) -> tuple[int, list[Line]]:
        """The exit code, and what was told. ``how`` is sent once ``stop`` says so of a line."""
        file = self.folder / f"{name}.json"
        kept = str(self.folder / f"{name}-checkpoints")
        file.write_text(
            json.dumps({"request": self.request, "resolved": None, "attempt": attempt, "checkpoints": kept})
        )
        # A data folder a name: one must not find on its cache what the other has made.
        roots = {"model_roots": self.folder, "data_roots": self.folder, "data_dir": self.folder / f"{name}-data"}
        process = subprocess.Popen(
            [*RUNNER, file, "--out", self.folder / name / str(attempt)],
            env=environment(**roots, device="cpu", checkpoint_seconds=0.03), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        told, sent = [], False
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                told.append(json.loads(line))
                if not sent and stop(told[-1]):
                    process.send_signal(how)
                    sent = True
        return process.returncode, told

    def weights(self, name: str, attempt: int) -> bytes:
        return (self.folder / name / str(attempt) / "artifact" / "model.safetensors").read_bytes()


def never(_: Line) -> bool:
    return False


def at_step(number: int) -> Callable[[Line], bool]:
    """After so many steps of the whole job, the baseline's first."""
    stage = "baseline"

    def stop(line: Line) -> bool:
        nonlocal stage
        stage = line["data"].get("stage", stage)
        done = line["data"].get("step", 0) + (STEPS if stage == "recovering" else 0)
        return line["type"] == "job.progress" and stage in ("baseline", "recovering") and done >= number

    return stop


def kill_and_compare(folder: Path, kills: int, **evaluation: Any) -> list[Line]:
    job, draw = Job(folder, **evaluation), random.Random(20)
    code, _ = job.run("whole", 1, never, signal.SIGKILL)
    assert code == 0
    told: list[Line] = []
    attempts = 0
    for part in range(kills):  # one in each part of the way, at a random step of it
        step = draw.randrange(max(1, part * 2 * STEPS // kills), (part + 1) * 2 * STEPS // kills)
        attempts += 1
        code, lines = job.run("cut", attempts, at_step(step), signal.SIGKILL)
        assert code == -signal.SIGKILL, f"it was to be killed at step {step}"
        told += lines
    code, lines = job.run("cut", attempts + 1, never, signal.SIGKILL)
    assert code == 0
    assert job.weights("cut", attempts + 1) == job.weights("whole", 1)
    return [*told, *lines]


def messages(told: list[Line]) -> str:
    return "\n".join(line["message"] for line in told)


@pytest.mark.slow
def test_killed_twice_it_delivers_the_same_bytes(tmp_path: Path) -> None:
    told = messages(kill_and_compare(tmp_path, 2))
    assert "resumed at step" in told
    assert "reused: baseline " in told


@pytest.mark.chaos
def test_killed_five_times_it_delivers_the_same_bytes(tmp_path: Path) -> None:
    assert messages(kill_and_compare(tmp_path, 5)).count("resumed at step") >= 3


@pytest.mark.slow
def test_sigterm_leaves_a_checkpoint_and_no_ending(tmp_path: Path) -> None:
    job = Job(tmp_path)
    code, told = job.run("cut", 1, at_step(STEPS // 2), signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert told[-1]["message"].startswith("checkpoint at step")
    code, again = job.run("cut", 2, never, signal.SIGTERM)
    assert code == 0
    done = told[-1]["message"].rpartition(" ")[2]
    assert f"resumed at step {done} of attempt 1" in messages(again)
