"""A study of the paper's grid against the same cells as separate runs of the usual recipe, and what workers add.

    python benchmarks/study.py [--quick] [--rows N] [--epochs N] [--tasks …] [--drops …] [--seeds …] [--peers N]

1. *Against separate runs*: all-MiniLM-L6-v2, every task, strategy, count and seed, recovered by fine-tuning as in the
   paper. Ours: one `POST /v1/studies` to `layercut serve`, from the request to the last cell's end; each job evaluates,
   measures speed, exports and proves its files. Theirs: a script a cell (`_usual_cell.py`), which trains the full model
   and the pruned one; with *baseline by hand* the full model is trained once for each task and seed. They take minutes
   each: `--peers` cells are run, spread over the grid, in turns with nothing else, and their mean is taken for all.
2. *Workers*: the cells of a tiny model of random weights, by one worker and by two, each with one thread. On two cores.

Both take turns on this machine. Reads LAYERCUT_GLUE_DIR. Ends with one line of JSON.
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from _minilm import SOURCE
from _progress import at, machine
from _servers import free_port, serving
from rich.console import Console
from rich.table import Table

STRATEGIES = ("top", "bottom", "symmetric", "alternate_odd", "alternate_even")
LEARNING_RATE = 1e-4
#: Of the tiny model's study.
TINY_CELLS = {False: 48, True: 4}

Body = dict[str, Any]

QUICK: Body = {
    "rows": 200,
    "epochs": 1.0,
    "tasks": ["rte"],
    "strategies": ["top", "symmetric"],
    "seeds": [1],
    "peers": 1,
}


@dataclass(frozen=True)
class Asked:
    rows: int
    epochs: float
    tasks: list[str]
    strategies: list[str]
    drops: list[int]
    seeds: list[int]
    peers: int

    @property
    def body(self) -> Body:
        return {
            "name": "the paper's grid",
            "models": str(SOURCE),
            "tasks": [{"name": task, "max_train_rows": self.rows} for task in self.tasks],
            "strategies": self.strategies,
            "drops": self.drops,
            "recoveries": [{"method": "finetune", "epochs": self.epochs, "learning_rate": LEARNING_RATE}],
            "seeds": self.seeds,
        }


@contextmanager
def service(folder: Path, workers: int, models: Path, *, threads: int | None = None) -> Iterator[httpx.Client]:
    """A gateway and so many workers, all in processes of their own."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    settings: dict[str, Any] = {
        "LAYERCUT_DATA_DIR": str(folder), "LAYERCUT_MODEL_ROOTS": str(models), "LAYERCUT_DATA_ROOTS": str(models),
        "LAYERCUT_PORT": str(port), **{name: os.environ[name] for name in ("LAYERCUT_GLUE_DIR",) if name in os.environ},
        **({"OMP_NUM_THREADS": str(threads)} if threads else {}),
    }  # fmt: skip
    command = [sys.executable, "-m", "cli.main"]
    with ExitStack() as stack:
        stack.enter_context(serving([*command, "gateway"], port, folder / "gateway.log", **settings))
        for number in range(workers):
            own = free_port()
            started = serving(
                [*command, "worker"], own, folder / f"worker{number}.log", **settings, LAYERCUT_WORKER_PORT=str(own)
            )
            stack.enter_context(started)
        yield stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False))


def run_study(client: httpx.Client, body: Body) -> tuple[float, Body]:
    """Seconds from the request to the end, and the study."""
    began = time.perf_counter()
    answer = client.post("/v1/studies", json=body)
    if not answer.is_success:
        raise SystemExit(f"POST /v1/studies: {answer.status_code} {answer.text}")
    told, study = -1, answer.json()
    while study["status"] == "running":
        time.sleep(1.0)
        study = client.get(answer.headers["Location"]).raise_for_status().json()
        done = study["progress"]["by_state"].get("succeeded", 0)
        if done != told:
            at(f"{done} of {study['progress']['cells']} cells, {study['progress']['eta_seconds'] or 0:.0f} s left")
            told = done
    took = time.perf_counter() - began
    missing = [cell for row in study["table"] for cell in row["cells"] if cell["state"] != "succeeded"]
    if missing:
        raise SystemExit(f"{len(missing)} cells have no result, as {missing[0]}")
    return took, study


def spread_over(cells: list[Body], count: int) -> list[Body]:
    """``count`` of them, from all over."""
    return [cells[round((at + 0.5) * len(cells) / count - 0.5)] for at in range(min(count, len(cells)))]


def usual(asked: Asked, cell: Body) -> Body:
    command = [sys.executable, str(Path(__file__).with_name("_usual_cell.py"))]
    command += ["--task", cell["task"], "--rows", str(asked.rows), "--epochs", str(asked.epochs)]
    command += ["--seed", str(cell["seed"]), "--layers", *map(str, cell["dropped"])]
    began = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: Body = json.loads(done.stdout.splitlines()[-1])
    return {**found, "seconds": time.perf_counter() - began}


def against_separate_runs(asked: Asked) -> Body:
    with tempfile.TemporaryDirectory() as folder, service(Path(folder), 1, SOURCE) as client:
        ours, study = run_study(client, asked.body)
        cells = [{**row, **cell} for row in study["table"] for cell in row["cells"]]
        trained = baselines_trained(client, cells)
    table = Table(title="The same cell, once by the usual recipe: seconds, and dev scores of both")
    for heading in ("cell", "usual, s", "before", "after", "ours: before", "after"):
        table.add_column(heading, justify="left" if heading == "cell" else "right")
    found: list[Body] = []
    for cell in spread_over(cells, asked.peers):
        name = f"{cell['task']} {cell['strategy']} {cell['drop']:g}, seed {cell['seed']}"
        at(f"usual recipe: {name}")
        found.append(usual(asked, cell))
        scores = (found[-1]["before"], found[-1]["after"], cell["score_before"], cell["score_after"])
        table.add_row(name, f"{found[-1]['seconds']:.1f}", *(f"{score:.2f}" for score in scores))
    Console(width=120).print(table)
    each = [one["seconds"] for one in found]
    baselines = len(asked.tasks) * len(asked.seeds)
    full = statistics.mean(one["full_seconds"] for one in found)
    separate = statistics.mean(each) * len(cells)
    by_hand = separate - full * (len(cells) - baselines)
    return {
        "cells": len(cells),
        "ours_seconds": round(ours, 1),
        "usual_seconds": round(separate, 1),
        "ratio": round(separate / ours, 2),
        "ratio_low": round(min(each) * len(cells) / ours, 2),
        "ratio_high": round(max(each) * len(cells) / ours, 2),
        "ratio_baseline_by_hand": round(by_hand / ours, 2),
        "baselines": baselines,
        "baselines_trained": trained,
    }


def baselines_trained(client: httpx.Client, cells: list[Body]) -> int:
    """Full models that jobs of the study trained, by their reports; the others took what those had made."""
    reports = [client.get(f"/v1/jobs/{cell['job_id']}/report").raise_for_status().json() for cell in cells]
    return sum(not any(reused["kind"] == "baseline" for reused in report["reused"]) for report in reports)


def tiny_model(folder: Path) -> Path:
    """A BERT of random weights with the packaged tokenizer."""
    import torch  # noqa: PLC0415 - for this alone
    from transformers import AutoTokenizer, BertConfig, BertModel  # noqa: PLC0415

    torch.manual_seed(1)
    config = BertConfig(hidden_size=64, num_hidden_layers=8, num_attention_heads=2, intermediate_size=128)
    BertModel(config).save_pretrained(folder / "tiny")
    AutoTokenizer.from_pretrained(SOURCE).save_pretrained(folder / "tiny")
    return folder / "tiny"


def of_workers(cells: int) -> Body:
    """Seconds of one study by one worker and by two."""
    took: dict[int, float] = {}
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            model = tiny_model(Path(folder))
            body = {
                "models": str(model), "tasks": "none", "strategies": ["top", "bottom"], "drops": [1, 2],
                "recoveries": "none", "seeds": list(range(cells // 4)),
            }  # fmt: skip
            at(f"{cells} cells of a tiny model, {workers} worker{'s' if workers > 1 else ''}")
            with service(Path(folder) / "data", workers, Path(folder), threads=1) as client:
                run_study(client, {**body, "strategies": "random", "drops": 5, "seeds": [99]})  # both are awake
                took[workers], _ = run_study(client, body)
    return {"cells": cells, "one": round(took[1], 1), "two": round(took[2], 1), "gain": round(took[1] / took[2], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="four cells of one task and 200 rows; four tiny ones")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--tasks", nargs="+", default=["rte", "mrpc", "stsb"])
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--drops", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--peers", type=int, default=4, help="cells that the usual recipe is run for")
    given = vars(parser.parse_args())
    if given.pop("quick"):
        given |= QUICK
        tiny = TINY_CELLS[True]
    else:
        tiny = TINY_CELLS[False]
    machine()
    separate, workers = against_separate_runs(Asked(**given)), of_workers(tiny)
    table = Table(title="A study")
    for heading in ("", "seconds", "ratio"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row(
        f"separate runs of {separate['cells']} cells", f"{separate['usual_seconds']:.0f}", f"{separate['ratio']} ×"
    )
    table.add_row("... the full models trained once by hand", "", f"{separate['ratio_baseline_by_hand']} ×")
    table.add_row("the study", f"{separate['ours_seconds']:.0f}", "")
    table.add_row(f"{workers['cells']} tiny cells by one worker", f"{workers['one']:.0f}", "")
    table.add_row("... by two", f"{workers['two']:.0f}", f"{workers['gain']} ×")
    Console(width=120).print(table)
    print(json.dumps({"separate": separate, "workers": workers}))


if __name__ == "__main__":
    main()
