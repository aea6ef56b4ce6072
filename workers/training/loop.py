"""The training loop: length-bucketed batches, autocast, AdamW with linear decay."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedModel

from api_schemas.errors import LayercutError
from api_schemas.recovery import Precision, Recovery
from workers.checkpoints.checkpoint import Checkpoint
from workers.data.batches import collate, training_batches
from workers.data.features import Features
from workers.kinds.kind import Kind
from workers.runtime.device import DTYPES, choose_precision, describe, free_memory
from workers.training.best_checkpoint import BestCheckpoint, HeldOut
from workers.training.compact_embedding import vocabulary
from workers.training.cpu import Engine, fast_path
from workers.training.divergence import Diverged, Guard
from workers.training.hooks import TrainingHooks
from workers.training.memory_estimate import rows_that_fit, size_of
from workers.training.micro_batches import Accumulator
from workers.training.objectives.losses import StudentOutput, TrainingObjective
from workers.training.optimizer import Stepper
from workers.training.snapshot import best_of, load_weights, restored, saved_state, weights_of
from workers.training.trainer_state import Step, TrainerState, TrainResult

#: Of the learning rate, after a divergence. Twice too high is what diverges mostly, and half of that would train at the
#: edge. A tenth would be safe and learn too little in a short schedule: a quarter was measured to cost 0 to 6 points.
BACK_OFF = 0.25


def train(
    kind: Kind,
    model: PreTrainedModel,
    features: Features,
    objective: TrainingObjective,
    recovery: Recovery,
    *,
    seed: int,
    device: torch.device,
    on_step: Callable[[Step], None],
    hooks: TrainingHooks | None = None,
    held_out: HeldOut | None = None,
    engine: bool = True,
) -> TrainResult:
    """Train ``model`` in place. The same seed repeats bit for bit on a CPU with the same number of threads, and so does
    a training that goes on from a checkpoint of ``hooks``.

    With a ``held_out``, the weights of the epoch that does best by it are kept, else the last. A loss or a gradient
    that is not a number starts the training anew at a quarter of the rate; a second one raises
    ``training_diverged``. Raises ``out_of_memory`` where one row is too much, and ``Stopped``. Without ``engine`` the
    model's modules are left as they are: that is to be in the provenance of the checkpoints, as their tensors differ.
    """
    hooks = hooks or TrainingHooks()
    saved = hooks.latest()
    if saved is not None and saved.finished:
        load_weights(model, saved.tensors)
        model.eval()
        return TrainResult(**saved.facts["trained"])
    precision = choose_precision(recovery.precision, device)
    recovery = recovery.model_copy(update={"precision": precision})
    training = OneTraining(kind, model, features, objective, recovery, seed, device, on_step, hooks, held_out, engine)
    start = weights_of(model, copy=True)
    if saved is None or saved.facts["state"]["factor"] == 1:
        try:
            return training.run(1.0, saved)
        except Diverged as error:
            load_weights(model, start)
            saved, rate = None, recovery.learning_rate
            hooks.warn(f"{error}: started again with the learning rate {rate * BACK_OFF:g} in place of {rate:g}")
    try:
        return training.run(BACK_OFF, saved)
    except Diverged as error:
        raise _gave_up(error, recovery.learning_rate) from error


def _gave_up(error: Diverged, rate: float) -> LayercutError:
    return LayercutError(
        "training_diverged",
        f"{error}, even with a quarter of the learning rate: lower recovery.learning_rate (it is {rate:g})",
        param="/recovery/learning_rate",
    )


@dataclass(frozen=True)
class OneTraining:
    """What stays the same when a training is started again. The recovery's precision is decided."""

    kind: Kind
    model: PreTrainedModel
    features: Features
    objective: TrainingObjective
    recovery: Recovery
    seed: int
    device: torch.device
    on_step: Callable[[Step], None]
    hooks: TrainingHooks
    held_out: HeldOut | None
    engine: bool

    @property
    def total(self) -> int:
        return self.recovery.steps_of(len(self.features))

    @property
    def batch(self) -> int:
        return self.recovery.batch_of(len(self.features))

    @property
    def precision(self) -> Precision:
        return cast(Precision, self.recovery.precision)

    @property
    def shape(self) -> str:
        """What decides how many rows fit into memory."""
        config, device = self.model.config.get_text_config(), describe(self.device)
        size = f"{config.model_type} {config.num_hidden_layers}x{config.hidden_size}"
        return f"{size}, {self.recovery.max_length} tokens, {self.precision}, {device.name}"

    def run(self, factor: float, saved: Checkpoint | None) -> TrainResult:
        """Train with the learning rate times ``factor``. Raises ``Diverged``: the weights are spoilt then."""
        recovery = self.recovery.model_copy(update={"learning_rate": self.recovery.learning_rate * factor})
        torch.manual_seed(self.seed)
        # Dropout is all that training mode changes in these models.
        self.model.train(recovery.dropout)
        with (
            fast_path(
                self.model, self.device, DTYPES[self.precision], left=self.features.padding.left, on=self.engine
            ) as engine,
            vocabulary(self.model, *self._texts, trained=self.objective.words, whole=engine.stock) as embedding,
        ):
            self._tell(engine)
            stepper = Stepper(
                self.model, embedding, recovery, total=self.total, device=self.device, precision=self.precision
            )
            if saved is None:
                known = self.hooks.micro_batches.recall(self.shape) or self.batch
                state = TrainerState(factor=factor, rows=self._fitting(min(known, self.batch)))
            else:
                state = restored(self.model, stepper, saved, self.device)
            best = BestCheckpoint(self.held_out, best_of(saved)) if self.held_out else None
            self._steps(stepper, state, best)
            if best:
                best.put_back(self.model)
        self.model.eval()
        trained = TrainResult.of(state, recovery, engine=engine.name, words=self.objective.words)
        self.hooks.finish(trained, weights_of(self.model))
        return trained

    def _tell(self, engine: Engine) -> None:
        told = f"trained with its own modules, not with the CPU engine: {engine.refused}"
        if engine.refused and told not in self.hooks.warnings:  # of an attempt before, or of the first of two starts
            self.hooks.warn(told)

    def _fitting(self, rows: int) -> int:
        """How many of ``rows`` to begin with: on a GPU, as many as are estimated to fit."""
        free = free_memory(self.device)
        if free is None:
            return rows
        size = size_of(self.model, int(self.features.lengths.max()), self.precision)
        fitting = rows_that_fit(size, rows, free)
        if fitting < rows:
            self.hooks.warn(f"by estimate {rows} rows do not fit into memory at once: {fitting} are computed at a time")
        return fitting

    @property
    def _texts(self) -> list[Features]:
        return [self.features, *([self.held_out.features] if self.held_out else [])]

    def _steps(self, stepper: Stepper, state: TrainerState, best: BestCheckpoint | None) -> None:
        accumulate = self._accumulator(stepper, state)
        guard = Guard(self.precision, self.total)
        began, lengths = time.perf_counter() - state.seconds, self.features.lengths
        for epoch, rows in itertools.islice(self._schedule(), state.step, None):
            loss = accumulate(rows)
            try:
                value = guard.check(loss, stepper.clip(), state.step + 1)
            except Diverged:
                stepper.clear()  # the next start must not find these gradients
                self.hooks.jumped(state.step, 0, self.total)
                raise
            stepper.step()
            state.add(value, len(rows), int(lengths[rows].sum()))
            state.seconds = time.perf_counter() - began
            self.on_step(Step(state.step, self.total, epoch, state.loss))
            if best and (epoch.is_integer() or state.step == self.total):
                best.look(self.model, epoch, state)
            if state.step < self.total and self.hooks.due:
                self.hooks.save(
                    state, self.total, *saved_state(self.model, stepper, best.weights if best else {}, self.device)
                )

    def _accumulator(self, stepper: Stepper, state: TrainerState) -> Accumulator:
        precision = self.precision

        def loss_of(rows: npt.NDArray[np.int64]) -> Tensor:
            inputs = self.objective.alter(collate(self.features, rows, self.device))
            with torch.autocast(self.device.type, DTYPES[precision], enabled=precision != "fp32"):
                answer = self.kind.answer(self.model, inputs, hidden=self.objective.wants_hidden)
            return self.objective.loss(StudentOutput(inputs, answer.values, answer.hidden), rows)

        def halved(rows: int) -> None:
            state.rows = rows
            self.hooks.micro_batches.learn(self.shape, rows)
            self.hooks.warn(
                f"memory ran out: batches of {self.batch} are computed {rows} rows at a time;"
                " the optimizer's batch stays as it is"
            )

        return Accumulator(loss_of, stepper, state.rows, halved=halved)

    def _schedule(self) -> Iterator[tuple[float, npt.NDArray[np.int64]]]:
        """Pairs of (epochs done after the batch, its rows), one for each optimizer step."""
        done = 0
        for epoch in itertools.count():
            batches = training_batches(self.features, self.batch, seed=self.seed, epoch=epoch)
            for at, rows in enumerate(batches, start=1):
                yield epoch + at / len(batches), rows
                done += 1
                if done == self.total:
                    return
