"""The repair of a pruned model: it learns from the gold labels, or from the baseline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel

from api_schemas.jobs import Stage
from workers.data.batches import Rows
from workers.data.features import Features
from workers.evaluation.scores import evaluate, logits_of
from workers.stages.run_context import Workbench
from workers.stages.train import train_on
from workers.training.best_checkpoint import Selection, hold_out
from workers.training.objectives.distillation import distillation
from workers.training.objectives.losses import Objective, label_objective


def recover(bench: Workbench, baseline: PreTrainedModel | None, pruned: PreTrainedModel) -> None:
    """Train ``pruned`` in place, as the job's recovery says. ``distill`` needs the baseline."""
    job, recovery = bench.job, bench.job.recovery
    if not job.trains:
        bench.progress.skip(Stage.RECOVERING, "recovery.method is none")
        return
    assert job.train is not None
    with bench.progress.stage(Stage.RECOVERING, seed=bench.seed):
        rows, selection = np.arange(len(job.train)), None
        if recovery.checkpoint == "best":
            rows, judged = hold_out(len(job.train), job.request.seed)
            selection = _selection(bench, job.train.take(judged))
        features = job.train if selection is None else job.train.take(rows)
        with _objective(bench, baseline, features, rows) as objective:
            train_on(bench, Stage.RECOVERING, pruned, features, objective, recovery=recovery, selection=selection)


def _selection(bench: Workbench, judged: Features) -> Selection:
    """By the task's headline metric: higher is better for all of them."""
    job, data = bench.job, bench.job.data
    assert data is not None

    def score(model: PreTrainedModel) -> float:
        slices = {"slice": judged}
        return evaluate(model, slices, data.metrics, regression=data.regression, device=job.device).score

    bench.progress.log(f"{len(judged)} training rows are not learnt from: they judge which epoch's weights are kept")
    return Selection(judged, score)


@contextmanager
def _objective(
    bench: Workbench, baseline: PreTrainedModel | None, features: Features, rows: Rows
) -> Iterator[Objective]:
    """``features`` are those ``rows`` of the training set that are learnt from."""
    job, recovery = bench.job, bench.job.recovery
    if recovery.method == "finetune":
        yield label_objective(features.labels, job.device)
        return
    assert baseline is not None
    assert bench.kept is not None
    with distillation(
        baseline,
        features,
        recovery,
        kept=bench.kept,
        special=job.tokenizer.all_special_ids,
        logits=lambda: _baseline_logits(bench, baseline)[rows],
        device=job.device,
    ) as objective:
        yield objective


def _baseline_logits(bench: Workbench, baseline: PreTrainedModel) -> npt.NDArray[np.float32]:
    """The baseline's answers to the training rows, ``(N, C)``, in row order."""
    job = bench.subject
    assert job.train is not None
    bench.progress.log(f"the baseline answers the {len(job.train)} training rows that the pruned model learns from")
    fingerprint = job.fingerprint_of("baseline_logits", baseline=job.baseline_fingerprint(bench.seed))
    answer = partial(logits_of, baseline, job.train, job.device)
    return bench.ledger.share("baseline_logits", fingerprint, answer)
