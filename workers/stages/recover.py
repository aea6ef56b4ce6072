"""The repair of a pruned model: it learns from the gold labels, or from the baseline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel

from api_schemas.jobs import Stage
from workers.data.batches import RowIndexes
from workers.data.features import Features
from workers.evaluation.scores import answers_of, evaluate
from workers.stages.answers import LEARNT, baseline_answers
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
    learnt = job.learnt
    with run.progress.stage(Stage.RECOVERING, seed=run.seed):
        rows, held_out = np.arange(len(learnt)), None
        if recovery.checkpoint == "best":
            rows, held_out = _held_out(run, baseline)
        features = learnt if held_out is None else learnt.take(rows)
        with _objective(run, baseline, features, rows) as objective:
            return train_on(run, Stage.RECOVERING, pruned, features, objective, recovery=recovery, held_out=held_out)


def _held_out(run: RunContext, baseline: PreTrainedModel | None) -> tuple[RowIndexes, HeldOut]:
    """The rows that are still learnt from; and what judges the others, which are labelled: the kind's metric, of which
    higher is better for all of them.
    """
    job, data, kind = run.job, run.job.data, run.job.kind
    assert data is not None
    assert job.train is not None
    rows, chosen = hold_out(len(job.train), job.request.seed)
    judged, metric = job.train.take(chosen), kind.slice_metric(data.metrics[0])
    # Now: while the pruned model learns from it, the baseline is not as it stands.
    answers = _answers(run, baseline, judged) if kind.needs_reference("slice") else None

    def reference(_: str) -> npt.NDArray[np.float32]:
        assert answers is not None
        return answers

    def score(model: PreTrainedModel) -> float | None:
        scores = evaluate(
            kind, model, {"slice": judged}, (metric,), job.metric_labels, device=job.device, reference=reference,
            done=run.progress.part,
        )  # fmt: skip
        return scores.score

    run.progress.log(f"{len(judged)} training rows are not learnt from: they judge which epoch's weights are kept")
    more = np.arange(len(job.train), len(job.learnt))
    return np.concatenate([rows, more]), HeldOut(judged, score)


def _answers(run: RunContext, baseline: PreTrainedModel | None, judged: Features) -> npt.NDArray[np.float32]:
    assert baseline is not None
    return answers_of(run.job.kind, baseline, judged, run.job.device, run.progress.part)


@contextmanager
def _objective(
    run: RunContext, baseline: PreTrainedModel | None, features: Features, rows: RowIndexes
) -> Iterator[TrainingObjective]:
    """``features`` are those ``rows`` of what is learnt from."""
    job, recovery = run.job, run.job.recovery
    if recovery.method == "finetune":
        yield label_objective(job.kind, features, job.device)
        return
    assert baseline is not None
    assert run.kept is not None
    with distillation(
        job.kind,
        baseline,
        features,
        recovery,
        kept=run.kept,
        special=job.tokenizer.all_special_ids,
        answers=lambda: baseline_answers(run, baseline, LEARNT, job.learnt)[job.learnt.places(rows)],
        device=job.device,
        engine=job.engine,
    ) as objective:
        yield objective
