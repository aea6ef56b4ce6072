"""The repair of a pruned model: it learns from the gold labels, or from the baseline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from transformers import PreTrainedModel

from api_schemas.jobs import Stage
from workers.device import choose_precision
from workers.evaluation.scores import logits_of
from workers.trainer import train_on
from workers.training.objectives import Objective, distillation_objective, label_objective
from workers.training.targets import LogitTargets, Pair, Targets, baseline_targets, hidden_pairs
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
    bench.story.log(f"the baseline answers the {len(subject.train)} training rows that the pruned model learns from")
    pairs = hidden_pairs(bench.kept, subject.facts.layers) if recovery.hidden_weight else []
    with _targets(bench, baseline, pairs) as targets:
        yield distillation_objective(targets, pairs, subject.train.labels, subject.device, recovery)


@contextmanager
def _targets(bench: Workbench, baseline: PreTrainedModel, pairs: list[Pair]) -> Iterator[Targets]:
    subject = bench.subject
    assert subject.train is not None
    if pairs:
        precision = choose_precision(subject.recovery.precision, subject.device)
        folder = bench.out / "targets"
        with baseline_targets(
            baseline, subject.train, pairs, device=subject.device, precision=precision, folder=folder
        ) as targets:
            yield targets
        return
    fingerprint = subject.print_of("baseline_logits", baseline=subject.baseline_print(bench.seed))
    answer = partial(logits_of, baseline, subject.train, subject.device)
    yield LogitTargets(bench.ledger.share("baseline_logits", fingerprint, answer), subject.device)
