"""How much faster the exported model is than its source: both in stock transformers, in one process, taking turns.

Claim: at batch 32, speed-up ≥ 0.95 × (layers before / layers after). Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _minilm import SOURCE
from _progress import at, machine
from rich.console import Console
from rich.table import Table
from transformers import AutoModel

DROPS = (2, 3)
BATCH, LENGTH = 32, 128
ROUNDS = {True: 10, False: 60}


def prune(drop: int, out: Path) -> Path:
    """The packaged model without its ``drop`` highest layers, as ``layercut run`` exports it."""
    job = out / "job.json"
    job.write_text(
        json.dumps(
            {
                "model": str(SOURCE),
                "task": "none",
                "prune": {"strategy": "top", "drop": drop},
                "evaluation": {"latency": {"batch_sizes": [], "sequence_lengths": []}},
            }
        )
    )
    command: list[str | Path] = [Path(sys.executable).with_name("layercut"), "run", job, "--out", out]
    environment = {**os.environ, "LAYERCUT_MODEL_ROOTS": str(SOURCE)}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return out / "artifact"


def seconds(model: Any, batch: dict[str, torch.Tensor]) -> float:
    began = time.perf_counter()
    with torch.inference_mode():
        model(**batch)
    return time.perf_counter() - began


def compare(full: Any, pruned: Any, batch: dict[str, torch.Tensor], rounds: int) -> tuple[float, float]:
    """Median milliseconds of each. They take turns, so that a busy moment of the machine hits both."""
    for model in (full, pruned):
        seconds(model, batch)
    at(f"{rounds} rounds")
    times = [(seconds(full, batch), seconds(pruned, batch)) for _ in range(rounds)]
    before, after = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
    return before, after


def measure(drop: int, rounds: int) -> dict[str, float]:
    at(f"drop {drop}: pruning")
    with tempfile.TemporaryDirectory() as out:
        pruned = AutoModel.from_pretrained(prune(drop, Path(out))).eval()
    full = AutoModel.from_pretrained(SOURCE).eval()
    ids = torch.randint(1000, 30000, (BATCH, LENGTH), generator=torch.Generator().manual_seed(0))
    before, after = compare(full, pruned, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, rounds)
    ideal = full.config.num_hidden_layers / pruned.config.num_hidden_layers
    return {
        "dropped": drop,
        "before_ms": round(before, 2),
        "after_ms": round(after, 2),
        "speedup": round(before / after, 3),
        "share_of_ideal": round(before / after / ideal, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    rounds = ROUNDS[parser.parse_args().quick]
    machine()
    rows = [measure(drop, rounds) for drop in DROPS]
    table = Table(title=f"{SOURCE.parent.name}, batch {BATCH} × {LENGTH} tokens, median of {rounds}")
    for heading in rows[0]:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)
    print(json.dumps({"benchmark": "inference", "goal_share_of_ideal": 0.95, "rows": rows}))


if __name__ == "__main__":
    main()
