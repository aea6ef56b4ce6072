"""A job in a real runner process, which is killed and run again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def messages(told: list[Line]) -> str:
    return "\n".join(line["message"] for line in told)
