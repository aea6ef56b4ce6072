"""One cell of the paper's grid as it is usually run: a script of its own for each, on transformers' Trainer.

As the run_glue example: every row padded to 128 tokens, float32, random order. The full model is fine-tuned, to have
something to compare with; layers are dropped from the pre-trained one, which is fine-tuned again. Prints one line of
JSON: seconds and the dev score of both. With ``--alone`` the full model is left out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from training import LEARNING_RATE, Course, prepare
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainingArguments, default_data_collator

from workers.runtime.loading import quiet_libraries

BATCH, LENGTH = 32, 128


def finetune(course: Course, model: PreTrainedModel, epochs: float, seed: int) -> float:
    """Seconds."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=BATCH, num_train_epochs=epochs, learning_rate=LEARNING_RATE,
            lr_scheduler_type="linear", seed=seed, report_to="none", save_strategy="no", logging_strategy="no",
            disable_tqdm=True, use_cpu=course.device.type == "cpu",
        )  # fmt: skip
        examples = course.examples(LENGTH)
        trainer = Trainer(model, arguments, train_dataset=examples, data_collator=default_data_collator)
        trainer.remove_callback(PrinterCallback)
        began = time.perf_counter()
        trainer.train()
        return time.perf_counter() - began


def drop(model: PreTrainedModel, layers: Sequence[int]) -> None:
    """Of a BERT, as the authors' script does it."""
    encoder: Any = model.base_model.encoder
    for layer in sorted(layers, reverse=True):
        del encoder.layer[layer]
    model.config.num_hidden_layers -= len(layers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--epochs", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--layers", type=int, nargs="+", required=True, help="that go, from 0")
    parser.add_argument("--alone", action="store_true")
    asked = parser.parse_args()
    quiet_libraries()
    began = time.perf_counter()
    course = prepare(asked.task, asked.rows)
    found: dict[str, float] = {}
    if not asked.alone:
        full = course.model()
        found["full_seconds"] = finetune(course, full, asked.epochs, asked.seed)
        found["before"] = course.score(full)
    pruned = course.model()
    drop(pruned, asked.layers)
    found["pruned_seconds"] = finetune(course, pruned, asked.epochs, asked.seed)
    found["after"] = course.score(pruned)
    with tempfile.TemporaryDirectory() as folder:
        pruned.save_pretrained(folder)
    print(json.dumps({**found, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
