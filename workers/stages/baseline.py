"""The full model fine-tuned on the task: what all is measured by, and what a pruned model learns from."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from api_schemas.jobs import Stage
from workers.stages import cache_codecs, fingerprints
from workers.stages.run_context import RunContext
from workers.stages.train import StageTraining, train_on
from workers.training.objectives.losses import label_objective
from workers.training.trainer_state import TrainResult


@dataclass(frozen=True)
class Baseline:
    """``training`` is None where the source is the baseline as it came."""

    model: PreTrainedModel
    training: StageTraining | None


def make_baseline(run: RunContext, source: PreTrainedModel) -> Baseline | None:
    """The baseline, trained now or taken from the cache; None where the job wants none.

    `distill` drops from the baseline, so there ``source`` itself is trained; `finetune` drops from the pre-trained
    model, so there a copy is.
    """
    job = run.job
    if not job.wants_baseline:
        run.progress.skip(Stage.BASELINE, "evaluation.baseline is false" if job.trains else "nothing is trained")
        return None
    if job.kind.row.teacher == "source":
        run.progress.skip(Stage.BASELINE, "the source is what the pruned model learns from, as it is")
        return Baseline(source, None)
    model = source if job.recovery.method == "distill" else copy.deepcopy(source)
    made: list[StageTraining] = []

    def make(folder: Path) -> None:
        assert job.train is not None
        objective = label_objective(job.kind, job.train, job.device)
        training = train_on(run, Stage.BASELINE, model, job.train, objective, recovery=job.recovery.of_baseline())
        cache_codecs.save_baseline(model, training.result, folder)
        made.append(training)

    def read(folder: Path) -> TrainResult:
        return made[0].result if made else cache_codecs.load_baseline(model, folder)

    with run.progress.stage(Stage.BASELINE, seed=run.seed):
        result = run.cache.get("baseline", fingerprints.baseline(job, run.seed), make, read)
        if made:
            return Baseline(model, made[0])
        run.progress.spare(Stage.BASELINE)
    return Baseline(model, StageTraining(run.training_name(Stage.BASELINE), result, reused=True))
