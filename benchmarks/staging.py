"""A model's inputs staged for a runner, against `cp -r` of the same folder.

The checkpoint of benchmarks/surgery.py, 4 GB (`--quick`: 0.4 GB), read once before, so that it comes from the page
cache. By turns: `cp -r`; staging as it is done (large files are handed over open); the same for a job that is kept by
its weights, whose sha256 is taken the first time and remembered from then on; and staging that copies everything.
Claim: staging adds less than a second to a job on a large model that trains nothing. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from _progress import at, machine
from surgery import SIZES, make_checkpoint

from api_schemas.requests import JobRequest
from sources.fingerprint import FileHashes
from sources.settings import SourceSettings
from sources.staging import Stager
from workers.settings import WorkerSettings

COPIES = 1 << 60


class Place:
    """A model's folder under a root, and a new folder for each turn."""

    def __init__(self, root: Path, model: Path) -> None:
        self.root, self.model = root, model
        self.turn = 0

    def new(self) -> Path:
        shutil.rmtree(self.root / f"turn-{self.turn}", ignore_errors=True)
        self.turn += 1
        folder = self.root / f"turn-{self.turn}"
        folder.mkdir()
        return folder

    def copy(self) -> None:
        subprocess.run(["cp", "-r", str(self.model), str(self.new())], check=True)

    def stage(self, copy_bytes: int, strategy: str, notes: str) -> None:
        settings = SourceSettings(model_roots=[self.model.parent])
        hashes = FileHashes(self.root / notes)
        request = JobRequest.model_validate(
            {"model": str(self.model), "task": "none", "prune": {"strategy": strategy, "drop": 1}}
        )
        Stager(settings, hashes, self.new(), copy_bytes).stage(request, None).close()


def timed(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="0.4 GB in place of 4")
    size = SIZES[parser.parse_args().quick]
    machine()
    usual = WorkerSettings().copy_bytes if size is SIZES[False] else 10 * 2**20
    with tempfile.TemporaryDirectory(prefix="layercut-staging-") as root:
        place = Place(Path(root), Path(root, "models", "m"))
        place.model.mkdir(parents=True)
        at("making the checkpoint")
        make_checkpoint(place.model, size)
        ways: dict[str, Callable[[int], None]] = {
            "cp": lambda _: place.copy(),
            "staged": lambda _: place.stage(usual, "top", "notes"),
            "first": lambda turn: place.stage(usual, "parameter_variance", f"notes-{turn}"),
            "copied": lambda _: place.stage(COPIES, "top", "notes"),
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        place.copy()
        for turn in range(size.turns):
            at(f"turn {turn + 1} of {size.turns}")
            for way, work in ways.items():
                seconds[way].append(timed(partial(work, turn)))
    medians = {way: statistics.median(taken) for way, taken in seconds.items()}
    print(f"{'way':8} {'median s':>9} {'least':>7} {'most':>7}")
    for way, taken in seconds.items():
        print(f"{way:8} {medians[way]:9.3f} {min(taken):7.3f} {max(taken):7.3f}")
    figures = {f"{way}_seconds": round(value, 3) for way, value in medians.items()}
    print(json.dumps({**figures, "staged_vs_cp": round(medians["staged"] / medians["cp"], 3)}))


if __name__ == "__main__":
    main()
