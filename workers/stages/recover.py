"""The repair of a pruned model: it learns from the gold labels, or from the baseline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel

from api_schemas.jobs import Stage
from sources.cached_files import Unusable
from workers.data.batches import RowIndexes
from workers.data.features import Features
from workers.evaluation.scores import evaluate, logits_of
from workers.stages import fingerprints
from workers.stages.run_context import RunContext
from workers.stages.train import StageTraining, train_on
from workers.training.best_checkpoint import HeldOut, hold_out
from workers.training.objectives.distillation import distillation
from workers.training.objectives.losses import TrainingObjective, label_objective


def recover(run: RunContext, baseline: PreTrainedModel | None, pruned: PreTrainedModel) -> StageTraining | None:
    """Train ``pruned`` in place, as the job's recovery says; None where it is not trained. ``distill`` needs the
    baseline.
    """
    job, recovery = run.job, run.job.recovery
    if not job.trains:
        run.progress.skip(Stage.RECOVERING, "recovery.method is none")
        return None
    assert job.train is not None
    with run.progress.stage(Stage.RECOVERING, seed=run.seed):
        rows, held_out = np.arange(len(job.train)), None
        if recovery.checkpoint == "best":
            rows, judged = hold_out(len(job.train), job.request.seed)
            held_out = _held_out(run, job.train.take(judged))
        features = job.train if held_out is None else job.train.take(rows)
        with _objective(run, baseline, features, rows) as objective:
            return train_on(run, Stage.RECOVERING, pruned, features, objective, recovery=recovery, held_out=held_out)


def _held_out(run: RunContext, judged: Features) -> HeldOut:
    """By the task's headline metric: higher is better for all of them."""
    job, data = run.job, run.job.data
    assert data is not None

    def score(model: PreTrainedModel) -> float | None:
        slices, labels = {"slice": judged}, job.metric_labels
        scores = evaluate(
            model, slices, data.metrics, labels, regression=data.regression, device=job.device, done=run.progress.part
        )
        return scores.score

    run.progress.log(f"{len(judged)} training rows are not learnt from: they judge which epoch's weights are kept")
    return HeldOut(judged, score)


@contextmanager
def _objective(
    run: RunContext, baseline: PreTrainedModel | None, features: Features, rows: RowIndexes
) -> Iterator[TrainingObjective]:
    """``features`` are those ``rows`` of the training set that are learnt from."""
    job, recovery = run.job, run.job.recovery
    if recovery.method == "finetune":
        yield label_objective(features.labels, job.device)
        return
    assert baseline is not None
    assert run.kept is not None
    with distillation(
        baseline,
        features,
        recovery,
        kept=run.kept,
        special=job.tokenizer.all_special_ids,
        logits=lambda: _baseline_logits(run, baseline)[rows],
        device=job.device,
        engine=job.engine,
    ) as objective:
        yield objective


def _baseline_logits(run: RunContext, baseline: PreTrainedModel) -> npt.NDArray[np.float32]:
    """The baseline's answers to the training rows, ``(N, C)``, in row order."""
    job = run.job
    assert job.train is not None
    run.progress.log(f"the baseline answers the {len(job.train)} training rows that the pruned model learns from")
    answer = partial(logits_of, baseline, job.train, job.device, run.progress.part)
    form = partial(_as_logits, shape=(len(job.train), baseline.config.num_labels or 1))
    return run.cache.share("baseline_logits", fingerprints.baseline_logits(job, run.seed), answer, form)


def _as_logits(found: npt.NDArray[np.float32], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    if found.shape != shape or found.dtype != np.float32:
        raise Unusable("baseline_logits", f"it is {found.dtype} {found.shape}, not {shape}")
    return found
