"""Trainings of tiny models on made-up rows, and one that is killed and goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from api_schemas.recovery import Recovery
from sources.rows import Rows
from tests.support.tiny_models import tiny_tokenizer
from workers.checkpoints.checkpoint import Checkpoints
from workers.data.batches import collate, training_batches
from workers.data.features import CLASS, Features, encode
from workers.kinds.table import plain_kind
from workers.training.hooks import TrainingHooks
from workers.training.loop import train
from workers.training.micro_batches import MicroBatches
from workers.training.objectives.losses import label_objective
from workers.training.trainer_state import Step, TrainResult

CPU = torch.device("cpu")
#: Of ``rows``.
KIND = plain_kind("classification", ("unkind", "kind"))
RECOVERY = Recovery(
    method="finetune", epochs=6, learning_rate=3e-3, batch_size=8, max_length=32, warmup_ratio=0.1,
    weight_decay=0.0, precision="fp32", temperature=2.0, label_weight=0.0, hidden_weight=1.0, noise=0.0,
    checkpoint="last", dropout=True, baseline_epochs=3, baseline_batch_size=8, baseline_learning_rate=3e-3,
)  # fmt: skip


def rows(count: int = 64) -> Rows:
    """Half of them are kind."""
    texts = [("a lovely, moving film" if row % 2 else "a dull and lifeless story",) for row in range(count)]
    return Rows(texts, [row % 2 for row in range(count)], "made", "0" * 64)


def features_of(architecture: str) -> Features:
    return encode(tiny_tokenizer(architecture), rows(), 32, CLASS)


class Killed(BaseException):
    """As kill -9 between two steps: nothing gets to write anything down."""


class Run:
    """One attempt at a training that keeps its state in ``folder``; ``told`` is what it said."""

    def __init__(self, folder: Path, *, attempt: int = 1, every: float = 0, **provenance: Any) -> None:
        self.told: list[str] = []
        self.jumps: list[tuple[int, int, int]] = []
        self.warnings: list[str] = []
        self.steps: list[Step] = []
        self.checkpoints = Checkpoints(
            folder, attempt=attempt, every_seconds=every,
            provenance=lambda: {"data": "d1", "model": "m1", **provenance},
            tell=lambda message, level, data: self.told.append(f"{level}: {message}"),
        )  # fmt: skip
        self.hooks = TrainingHooks(
            slot=self.checkpoints.slot("baseline-3"),
            micro_batches=MicroBatches(folder / "micro.json"),
            on_warning=self.warnings.append,
            jumped=lambda *jump: self.jumps.append(jump),
        )

    def go(
        self, model: PreTrainedModel, *, kill_after: int | None = None, act: Callable[[], None] | None = None,
        architecture: str = "bert", engine: bool = True, **changes: Any,
    ) -> TrainResult:  # fmt: skip
        def on_step(step: Step) -> None:
            self.steps.append(step)
            if step.number == kill_after:
                (act or die)()

        features = features_of(architecture)
        recovery = RECOVERY.model_copy(update={"weight_decay": 0.01, **changes})
        objective = label_objective(KIND, features, CPU)
        with self.checkpoints.heeding_sigterm():
            return train(
                KIND, model, features, objective, recovery,
                seed=3, device=CPU, on_step=on_step, hooks=self.hooks, engine=engine,
            )  # fmt: skip


def plain_loop(model: PreTrainedModel, features: Features, *, learning_rate: float, weight_decay: float) -> None:
    """One epoch as anyone would write it, with torch and transformers alone, and with the batches of seed 3."""
    decayed = [w for w in model.parameters() if w.ndim > 1]
    others = [w for w in model.parameters() if w.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate)
    batches = training_batches(features, 8, seed=3, epoch=0)
    model.train()
    for at, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (1 - at / len(batches))
        logits = model(**collate(features, batch, CPU)).logits
        nn.functional.cross_entropy(logits, torch.from_numpy(features.labels[batch])).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def die() -> None:
    raise Killed


def weights(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, weight in one.items():
        assert torch.equal(weight, other[name]), name
