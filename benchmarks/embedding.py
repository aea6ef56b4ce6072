"""What of an embedding model's vectors is left when layers go: layercut, and the layer reduction of the
sentence-transformers documentation, on the same sentences, with the same number of optimizer steps.

The model is all-MiniLM-L6-v2. Both learn from the sentences of GLUE's training sets alone, without labels; sentences of
STS-B dev are left out. *ours* is a whole job as a user asks for it (`{"kind": "embedding"}`, every other value left to
the service but the number of epochs). *official* is `model_distillation_layer_reduction.py`: evenly spaced layers from
the first, MSE to the teacher's vector (the library's own `MSELoss`), batch 64, rate 1e-4, warm-up 0.1, linear decay.

Both are measured by stock sentence-transformers on STS-B dev: Spearman as a share of the teacher's, the mean and the
5th percentile of the cosine to the teacher's vector over its sentences, and the ten nearest neighbours among them.
Reads LAYERCUT_GLUE_DIR, or the hub. Ends with one line of JSON: both sizes of ours, and of the official recipe.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _minilm import SOURCE
from _progress import at, machine
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MSELoss
from torch import nn
from transformers import get_linear_schedule_with_warmup

from api_schemas.requests import JobRequest
from api_schemas.tasks import TASKS
from sources.glue import read_glue
from sources.settings import SourceSettings
from workers.pipeline import run_pipeline
from workers.runtime.loading import quiet_libraries
from workers.search.distances import cosines
from workers.search.neighbours import shared_neighbours
from workers.settings import WorkerSettings

LAYERS = 6
SIZES = {"third": 2, "half": 3}
#: Of the official recipe.
BATCH, RATE, WARMUP = 64, 1e-4, 0.1
#: Of the service's, for the number of steps.
OUR_BATCH = 16
TASKS_READ = ("mnli", "stsb", "mrpc", "rte", "sst2")
LONGEST = 200  # characters: what most sentences have


class Figures(NamedTuple):
    """Shares of the teacher's in %, but for the cosines; ``seconds`` of the job, or of the training."""

    spearman: float
    cosine: float
    cosine_p5: float
    neighbours: float
    seconds: float


class Judge:
    """STS-B dev, and what the teacher makes of it."""

    def __init__(self) -> None:
        rows = read_glue(TASKS["stsb"], "validation", SourceSettings())
        self.firsts, self.seconds = (list(side) for side in zip(*rows.texts, strict=True))
        self.gold = np.asarray(rows.labels)
        self.sentences = sorted({*self.firsts, *self.seconds})
        self._teacher = SentenceTransformer(str(SOURCE), device="cpu")
        self._vectors = self._teacher.encode(self.sentences)
        self._whole = self._spearman(self._teacher)

    def _spearman(self, model: SentenceTransformer) -> float:
        likeness = cosines(model.encode(self.firsts), model.encode(self.seconds))
        return float(spearmanr(likeness, self.gold).statistic)

    def of(self, model: SentenceTransformer, seconds: float) -> Figures:
        vectors = model.encode(self.sentences)
        near = cosines(self._vectors, vectors)
        return Figures(
            spearman=100 * self._spearman(model) / self._whole,
            cosine=float(near.mean()),
            cosine_p5=float(np.percentile(near, 5)),
            neighbours=100 * float(shared_neighbours(self._vectors, vectors).mean()),
            seconds=seconds,
        )


def sentences(count: int, without: Sequence[str]) -> list[str]:
    """A seeded sample of the training sets' sentences, each once."""
    seen, found = {text.lower() for text in without}, []
    for name in TASKS_READ:
        try:
            rows = read_glue(TASKS[name], "train", SourceSettings())
        except Exception as error:  # noqa: BLE001 - a folder may have some of the tasks
            at(f"{name} is left out: {error}")
            continue
        for row in rows.texts:
            for text in row:
                line = " ".join(text.split())
                if 0 < len(line) <= LONGEST and line.lower() not in seen:
                    seen.add(line.lower())
                    found.append(line)
    return random.Random(42).sample(found, min(count, len(found)))


def ours(
    texts: Sequence[str], drop: int, epochs: float, strategy: str | None, steps: int
) -> tuple[SentenceTransformer, list[int]]:
    """What a job delivers, and its layers."""
    with tempfile.TemporaryDirectory() as home:
        file, out = Path(home) / "texts.txt", Path(home) / "out"
        file.write_text("\n".join(texts) + "\n", encoding="utf-8")
        body = {
            "model": str(SOURCE),
            "task": {"kind": "embedding", "dataset": str(file), "pairs": "stsb"},
            "prune": {"drop": drop} | ({"strategy": strategy} if strategy else {}),
            "recovery": {"epochs": epochs},
            "evaluation": {"latency": {"batch_sizes": [32], "sequence_lengths": [32]}},
        }
        settings = WorkerSettings(data_dir=out, model_roots=[SOURCE], data_roots=[Path(home)])
        request = JobRequest.model_validate(body)
        run_pipeline(request, job_id=None, out=out, settings=settings, tell=lambda event: None, archived=False)
        report = json.loads((out / "artifact" / "report.json").read_text())
        taken = report["training"]["recovering"]["steps"]
        assert taken == steps, f"{taken} steps, not {steps}"
        return SentenceTransformer(str(out / "artifact"), device="cpu"), report["layers"]["kept"]


def evenly(drop: int) -> list[int]:
    """As the official script: from the first, in equal steps."""
    kept = LAYERS - drop
    return [at * LAYERS // kept for at in range(kept)]


def official(texts: Sequence[str], drop: int, steps: int) -> tuple[SentenceTransformer, list[int]]:
    teacher = SentenceTransformer(str(SOURCE), device="cpu")
    student = SentenceTransformer(str(SOURCE), device="cpu")
    inner: Any = student[0].auto_model
    inner.encoder.layer = nn.ModuleList([inner.encoder.layer[layer] for layer in evenly(drop)])
    inner.config.num_hidden_layers = LAYERS - drop
    student.train()
    vectors = teacher.encode(list(texts), convert_to_tensor=True, batch_size=64)
    loss_of, optimizer = MSELoss(student), torch.optim.AdamW(student.parameters(), lr=RATE)
    schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(WARMUP * steps), steps)
    for rows in _batches(len(texts), steps):
        inputs = student.tokenize([texts[row] for row in rows])
        loss_of([inputs], vectors[rows]).backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return student.eval(), evenly(drop)


def _batches(rows: int, steps: int) -> Iterator[list[int]]:
    draw, order = random.Random(42), list[int]()
    for _ in range(steps):
        if len(order) < BATCH:
            order = [*order, *draw.sample(range(rows), rows)]
        yield order[:BATCH]
        order = order[BATCH:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="320 sentences, one epoch, half of the layers")
    parser.add_argument("--sentences", type=int, default=20_000)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--strategy", help="of ours; by default the service's own")
    parser.add_argument("--by", nargs="+", choices=("ours", "official"), default=["ours", "official"])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    asked = parser.parse_args()
    count, epochs = (320, 1.0) if asked.quick else (asked.sentences, asked.epochs)
    sizes = ["half"] if asked.quick else asked.sizes
    quiet_libraries()
    machine()
    judge = Judge()
    texts = sentences(count, judge.sentences)
    # A tenth of ours is held out.
    learnt = len(texts) - min(round(len(texts) / 10), 2000)
    steps = math.ceil(math.ceil(learnt / OUR_BATCH) * epochs)
    table = Table(title=f"all-MiniLM-L6-v2, {len(texts)} sentences, {steps} steps", box=None)
    for name in ("dropped", "by", "layers", "Spearman kept, %", "cosine", "p5", "neighbours, %", "seconds"):
        table.add_column(name)
    found: dict[str, dict[str, Figures]] = {"ours": {}, "official": {}}
    for size in sizes:
        drop = SIZES[size]
        for side in asked.by:
            at(f"{size}: {side}")
            began = time.perf_counter()
            model, layers = (
                ours(texts, drop, epochs, asked.strategy, steps) if side == "ours" else official(texts, drop, steps)
            )
            found[side][size] = judge.of(model, time.perf_counter() - began)
            at(f"{layers}: {_told(found[side][size])}")
            table.add_row(size, side, str(layers), *(f"{value:.3f}" for value in found[side][size]))
    Console(file=sys.stderr, width=120).print(table)
    line = {size: _told(figures) for size, figures in found["ours"].items()}
    print(json.dumps({**line, "official": {size: _told(figures) for size, figures in found["official"].items()}}))


def _told(figures: Figures) -> dict[str, float]:
    return {name: round(value, 4) for name, value in figures._asdict().items()}


if __name__ == "__main__":
    main()
