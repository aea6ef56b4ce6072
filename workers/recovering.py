"""The repair of a pruned model: it learns from the gold labels, or from the baseline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel

from api_schemas.jobs import Stage
from workers.evaluation.scores import logits_of
from workers.trainer import train_on
from workers.training.distilling import distillation
from workers.training.objectives import Objective, label_objective
from workers.workbench import Workbench


def recover(bench: Workbench, baseline: PreTrainedModel | None, pruned: PreTrainedModel) -> None:
    """Train ``pruned`` in place, as the job's recovery says. ``distill`` needs the baseline."""
    subject, recovery = bench.subject, bench.subject.recovery
    if not subject.trains:
        bench.story.skip(Stage.RECOVERING, "recovery.method is none")
        return
    with bench.story.stage(Stage.RECOVERING, seed=bench.seed), _objective(bench, baseline) as objective:
        train_on(bench, Stage.RECOVERING, pruned, objective, recovery)


@contextmanager
def _objective(bench: Workbench, baseline: PreTrainedModel | None) -> Iterator[Objective]:
    subject, recovery = bench.subject, bench.subject.recovery
    assert subject.train is not None
    if recovery.method == "finetune":
        yield label_objective(subject.train.labels, subject.device)
        return
    assert baseline is not None
    assert bench.kept is not None
    with distillation(
        baseline,
        subject.train,
        recovery,
        kept=bench.kept,
        special=subject.tokenizer.all_special_ids,
        logits=partial(_baseline_logits, bench, baseline),
        device=subject.device,
    ) as objective:
        yield objective


def _baseline_logits(bench: Workbench, baseline: PreTrainedModel) -> npt.NDArray[np.float32]:
    """The baseline's answers to the training rows, ``(N, C)``, in row order."""
    subject = bench.subject
    assert subject.train is not None
    bench.story.log(f"the baseline answers the {len(subject.train)} training rows that the pruned model learns from")
    fingerprint = subject.print_of("baseline_logits", baseline=subject.baseline_print(bench.seed))
    answer = partial(logits_of, baseline, subject.train, subject.device)
    return bench.ledger.share("baseline_logits", fingerprint, answer)
