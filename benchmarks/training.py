"""How fast a fine-tuning step is: `transformers.Trainer` as usual, Trainer tuned as well as we know, and layercut.

The same model, rows, batch size, learning rate and number of steps on each side; only `train()` is timed. Each side has
a process of its own, and the last two take turns: the machine is not the same from one half minute to the next. The
median counts, and all turns are printed. The dev score is printed beside the speed, so that none is fast by learning
less. Reads LAYERCUT_GLUE_DIR, or the hub.
`--shape bert-base` trains random weights of that shape on random tokens instead, with row lengths as in SST-2: for
GPUs, which the small model leaves idle. On a GPU whose peak is known the table has MFU: the share of that peak that the
model's own sums over real tokens took. Ends with one line of JSON: how many times faster than each Trainer layercut is.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import torch
from _minilm import SOURCE
from _progress import at, machine
from rich.console import Console
from rich.table import Table
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    default_data_collator,
)

from api_schemas.errors import LayercutError
from api_schemas.recovery import Recovery
from api_schemas.task_spec import TaskSpec
from sources.rows import Rows
from sources.settings import SourceSettings
from sources.tasks import TaskData, load_task
from workers.data.features import Features, Padding, encode
from workers.evaluation.metrics import MetricLabels
from workers.evaluation.scores import evaluate
from workers.kinds.kind import Kind
from workers.kinds.table import plain_kind
from workers.runtime.device import choose_device, choose_precision
from workers.runtime.loading import load_for_task, load_tokenizer, quiet_libraries
from workers.training.loop import train
from workers.training.objectives.losses import label_objective

SEED, BATCH, MAX_LENGTH, LEARNING_RATE = 42, 32, 128, 1e-4
ROWS = {"sst2": 6000, "mrpc": 3668}
QUICK_ROWS = 128
SHAPE, SHAPE_ROWS = "bert-base", 20_000

#: Dense TFLOP/s in 16 bits by the makers' data sheets. The first name that the device's name has in it.
PEAKS = (
    ("H200", 989), ("H100 PCIe", 756), ("H100", 989), ("A100", 312), ("L40S", 362), ("L4", 121), ("V100", 125),
    ("T4", 65),
)  # fmt: skip


@dataclass(frozen=True)
class Course:
    """What every side trains on."""

    data: TaskData
    train: Features
    dev: dict[str, Features]
    device: torch.device
    shape: BertConfig | None = None

    @property
    def kind(self) -> Kind:
        return plain_kind(self.data.kind, self.data.label_names)

    def model(self) -> PreTrainedModel:
        if self.shape is not None:
            torch.manual_seed(SEED)
            return self._placed(BertForSequenceClassification(self.shape))
        return self._placed(load_for_task(SOURCE, self.kind.head, seed=SEED))

    def _placed(self, model: PreTrainedModel) -> PreTrainedModel:
        nn.Module.to(model, self.device)  # its own ``to`` is not annotated
        return model

    def examples(self, pad_to: int) -> list[dict[str, Any]]:
        """The training rows as Trainer takes them, from the same tokens; 0 pads nothing."""
        train, examples = self.train, []
        for row, label in enumerate(train.labels.tolist()):
            span, width = slice(train.offsets[row], train.offsets[row + 1]), int(train.lengths[row])
            columns: dict[str, np.ndarray[Any, Any]] = {
                "input_ids": train.ids[span],
                "attention_mask": np.ones(width, dtype=np.int64),
            }
            if train.types is not None:
                columns["token_type_ids"] = train.types[span]
            padding = (0, max(0, pad_to - width))
            examples.append({name: np.pad(values, padding).tolist() for name, values in columns.items()})
            examples[-1]["labels"] = label
        return examples

    def score(self, model: PreTrainedModel) -> float:
        data = self.data
        labels = MetricLabels(data.label_names, data.positive)
        found = evaluate(self.kind, model, self.dev, data.metrics, labels, device=self.device)
        return found.score or 0.0  # a score that is not defined is worth nothing


@cache
def prepare(task: str, rows: int) -> Course:
    """Of a task of GLUE, or of SHAPE. Raises ``LayercutError`` where the data is not here."""
    if task == SHAPE:
        return _prepare_shape(rows)
    spec = TaskSpec.model_validate({"name": task, "max_train_rows": rows})
    data = load_task(spec, SourceSettings(), SEED)
    tokenizer, shape = load_tokenizer(SOURCE), plain_kind(data.kind, data.label_names).shape

    def tokens(part: Any) -> Features:
        return encode(tokenizer, part, MAX_LENGTH, shape)

    dev = {split: tokens(part) for split, part in data.dev.items()}
    return Course(data, tokens(data.train), dev, choose_device("auto"))


def _prepare_shape(rows: int) -> Course:
    """Random tokens and labels: nothing can be learnt, and the score is that of chance."""
    draw = np.random.default_rng(SEED)
    config = BertConfig()

    def tokens(count: int) -> Features:
        lengths = np.clip(3 + draw.gamma(1.2, 9.0, count), 3, 66).astype(
            np.int64
        )  # SST-2: 13.3 on average, half below 10
        return Features(
            ids=draw.integers(1000, config.vocab_size, lengths.sum(), dtype=np.int32),
            types=np.zeros(lengths.sum(), dtype=np.int8),
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            labels=draw.integers(0, 2, count),
            padding=Padding(token=0, token_type=0, left=False),
        )

    data = TaskData(Rows([], [], "random", ""), {}, ("no", "yes"), "classification", ("accuracy",))
    return Course(data, tokens(rows), {"dev": tokens(256)}, choose_device("auto"), config)


def mfu(course: Course, model: PreTrainedModel, seconds: float) -> float | None:
    """Model FLOPs utilisation, percent; None where the device's peak is not known.

    Forward and backward are 6 FLOPs a weight and token, and 12 × width × length a layer and token for the attention
    (Chowdhery et al. 2022, arXiv 2204.02311, appendix B). Embeddings are looked up, not multiplied; padding is waste.
    """
    device = torch.cuda.get_device_name(course.device) if course.device.type == "cuda" else ""
    peak = next((peak for name, peak in PEAKS if name in device), None)
    if peak is None:
        return None
    config, lengths = model.config, course.train.lengths.astype(float)
    weights = sum(weight.numel() for name, weight in model.named_parameters() if "embeddings" not in name)
    attention = 12 * config.num_hidden_layers * config.hidden_size * float((lengths**2).sum())
    return float(100 * (6 * weights * float(lengths.sum()) + attention) / (seconds * peak * 1e12))


def usual(course: Course, model: PreTrainedModel) -> float:
    """The recipe of the run_glue examples: every row padded to 128, float32, random order."""
    return _trainer(course, model, pad_to=MAX_LENGTH, collator=default_data_collator)


def tuned(course: Course, model: PreTrainedModel) -> float:
    """The best of its own options: dynamic padding, rows of like length together, fused AdamW, fast attention, and the
    best precision that the device has: bf16 without the instructions for it crawls.
    """
    if course.device.type == "cpu":
        # The backward pass of the default attention is slow on a CPU: eager is faster here.
        model.set_attn_implementation("eager")
    collator = DataCollatorWithPadding(load_tokenizer(SOURCE), pad_to_multiple_of=8)
    precision = choose_precision("auto", course.device)
    return _trainer(
        course, model, pad_to=0, collator=collator, bf16=precision == "bf16", fp16=precision == "fp16",
        train_sampling_strategy="group_by_length",
    )  # fmt: skip


def ours(course: Course, model: PreTrainedModel) -> float:
    recovery = Recovery(
        method="finetune", epochs=1, learning_rate=LEARNING_RATE, batch_size=BATCH, max_length=MAX_LENGTH,
        warmup_ratio=0.0, weight_decay=0.0, precision="auto", temperature=1.0, label_weight=0.0,
        hidden_weight=0.0, noise=0.0, checkpoint="last", dropout=True, baseline_epochs=1.0, baseline_batch_size=BATCH,
        baseline_learning_rate=LEARNING_RATE,
    )  # fmt: skip
    objective = label_objective(course.kind, course.train, course.device)
    began = time.perf_counter()
    train(
        course.kind, model, course.train, objective, recovery,
        seed=SEED, device=course.device, on_step=lambda step: None,
    )  # fmt: skip
    return time.perf_counter() - began


SIDES: dict[str, Callable[[Course, PreTrainedModel], float]] = {"usual": usual, "tuned": tuned, "layercut": ours}


def _trainer(course: Course, model: PreTrainedModel, *, pad_to: int, collator: Any, **options: Any) -> float:
    examples = course.examples(pad_to)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=BATCH, num_train_epochs=1, learning_rate=LEARNING_RATE,
            weight_decay=0.0, lr_scheduler_type="linear", optim="adamw_torch_fused", seed=SEED, report_to="none",
            save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=course.device.type == "cpu",
            **options,
        )  # fmt: skip
        trainer = Trainer(model, arguments, train_dataset=examples, data_collator=collator)
        trainer.remove_callback(PrinterCallback)
        began = time.perf_counter()
        trainer.train()
        return time.perf_counter() - began


class Turn(NamedTuple):
    """One training of one side. ``mfu``: of ``mfu``, or None."""

    seconds: float
    score: float
    mfu: float | None


#: One turn is enough where the factor is seven to twenty, and the turn takes minutes.
TURNS = {"usual": 1, "tuned": 3, "layercut": 3}

Sides = dict[str, ProcessPoolExecutor]


@contextmanager
def processes() -> Iterator[Sides]:
    """One for each side: what one does to its heap and its threads is not to help another, nor to harm it."""
    with ExitStack() as stack:
        yield {
            side: stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"), initializer=quiet_libraries))
            for side in SIDES
        }


def train_side(side: str, task: str, rows: int) -> Turn:
    course = prepare(task, rows)
    model = course.model()
    seconds = SIDES[side](course, model)
    return Turn(seconds, course.score(model), mfu(course, model, seconds))


def measure(sides: Sides, task: str, rows: int, turns: dict[str, int]) -> dict[str, list[Turn]]:
    found: dict[str, list[Turn]] = {side: [] for side in sides}
    for number in range(max(turns.values())):
        for side, process in sides.items():
            if number < turns[side]:
                at(f"{task}: {side}, turn {number + 1} of {turns[side]}")
                found[side].append(process.submit(train_side, side, task, rows).result())
    return found


def median(turns: list[Turn]) -> float:
    return statistics.median(turn.seconds for turn in turns)


def ratios(found: dict[str, list[Turn]]) -> dict[str, float]:
    """How many times faster than each side layercut is."""
    return {side: round(median(turns) / median(found["layercut"]), 2) for side, turns in found.items()}


def show(task: str, rows: int, found: dict[str, list[Turn]]) -> None:
    table = Table(title=f"{task}: {rows} rows, one epoch of batches of {BATCH}")
    for heading in ("side", "seconds", "of turns", "examples a second", "dev score", "MFU, %", "layercut is faster by"):
        table.add_column(heading, justify="right")
    for side, turns in found.items():
        seconds, shares = median(turns), [turn.mfu for turn in turns if turn.mfu is not None]
        table.add_row(
            side, f"{seconds:.1f}", ", ".join(f"{turn.seconds:.1f}" for turn in turns), f"{rows / seconds:.1f}",
            f"{turns[0].score:.2f}", f"{statistics.median(shares):.1f}" if shares else "", f"{ratios(found)[side]} ×",
        )  # fmt: skip
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS} rows a task, one turn each")
    parser.add_argument("--shape", choices=[SHAPE], help="random weights of this shape, in place of the tasks")
    asked = parser.parse_args()
    quiet_libraries()
    machine()
    result: dict[str, dict[str, float]] = {}
    with processes() as sides:
        for task, count in {SHAPE: SHAPE_ROWS}.items() if asked.shape else ROWS.items():
            rows = QUICK_ROWS if asked.quick else count
            try:
                rows = len(prepare(task, rows).train)
            except LayercutError as error:
                Console().print(f"{task} left out: {error.message}")
                continue
            found = measure(sides, task, rows, dict.fromkeys(TURNS, 1) if asked.quick else TURNS)
            show(task, rows, found)
            result[task] = {side: ratio for side, ratio in ratios(found).items() if side != "layercut"}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
