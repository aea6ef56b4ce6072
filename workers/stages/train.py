"""One training of a job: the loop, with the job's checkpoints, warnings and progress around it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from transformers import PreTrainedModel

from api_schemas.jobs import Stage
from api_schemas.recovery import Recovery
from workers.data.features import Features
from workers.stages.run_context import RunContext
from workers.training.best_checkpoint import HeldOut
from workers.training.hooks import TrainingHooks
from workers.training.loop import train
from workers.training.objectives.losses import TrainingObjective
from workers.training.trainer_state import Step, TrainResult


@dataclass(frozen=True)
class StageTraining:
    """A training by the name that the report has for it. ``reused``: another job has done it."""

    name: str
    result: TrainResult
    reused: bool = False


def train_on(
    run: RunContext,
    stage: Stage,
    model: PreTrainedModel,
    features: Features,
    objective: TrainingObjective,
    *,
    recovery: Recovery,
    held_out: HeldOut | None = None,
) -> StageTraining:
    """Train ``model`` in place on ``features``. Raises what ``train`` raises."""
    job, progress, last = run.job, run.progress, time.perf_counter()

    def on_step(step: Step) -> None:
        nonlocal last
        now = time.perf_counter()
        progress.step(stage, step, now - last)
        last = now

    hooks = TrainingHooks(
        slot=run.slot(stage.value),
        micro_batches=run.micro_batches,
        on_warning=progress.warn,
        jumped=lambda before, after, total: progress.jump(stage, before, after, total),
    )
    with run.checkpoints.heeding_sigterm():
        result = train(
            job.kind,
            model,
            features,
            objective,
            recovery,
            seed=run.seed,
            device=job.device,
            on_step=on_step,
            hooks=hooks,
            held_out=held_out,
            engine=job.engine,
        )
    return StageTraining(run.training_name(stage), result)
