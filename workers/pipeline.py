"""The story of one job on one screen."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel

from api_schemas.events import EventType, NewEvent
from api_schemas.jobs import Stage
from api_schemas.pruning import Plan, make_plan
from api_schemas.requests import JobRequest
from api_schemas.strategies import STRATEGIES
from workers import keeping, outcome
from workers.data.batches import collate, scoring_batches
from workers.evaluation import latency
from workers.evaluation.scores import Scores, evaluate, logits_of
from workers.ledger import Ledger
from workers.loading import label_order, quiet_libraries
from workers.narrator import Narrator
from workers.pruning.scoring import measure_activations, measure_weights
from workers.pruning.surgery import drop_layers
from workers.settings import Settings
from workers.shelf import FolderShelf, Shelf
from workers.subject import CALIBRATION_ROWS, Subject, find_subject
from workers.training.loop import Step, total_steps, train
from workers.training.objectives import Objective, distillation_objective, label_objective
from workers.workbench import Workbench


def run(
    request: JobRequest,
    *,
    job_id: str | None,
    out: Path,
    settings: Settings,
    tell: Callable[[NewEvent], None],
    shelf: Shelf | None = None,
) -> None:
    """Carry the job out, and leave its artifact under ``out``. The last event told is SUCCEEDED.

    What ``shelf`` has is not made again; without one, all is made here and nothing is kept for others.
    Raises ``LayercutError`` for what a person can mend; ``tell`` gets every event on the way.
    """
    quiet_libraries()
    story = Narrator(tell)
    ledger = Ledger(shelf or FolderShelf(out / "shelf", settings.shelf_bytes), story)
    warnings: list[str] = []
    with story.stage(Stage.RESOLVING):
        subject = find_subject(request, settings, ledger)
        story.resolved({**subject.resolved(), **ledger.resolved()})
        source = subject.load(warnings)
    bench = Workbench(subject, story, ledger, out, job_id)
    expect(bench)
    for warning in warnings:
        story.warn(warning)
    before = make_baseline(bench, source)
    plan = choose_layers(bench, source)
    after = prune(bench, source, plan)
    recover(bench, before, after)
    after.to(subject.dtype)
    measured = measure(bench, before or source, after)
    artifact = outcome.deliver(bench, plan, after, measured)
    tell(NewEvent(type=EventType.SUCCEEDED, message=artifact.result.verdict, data=artifact.data()))


def expect(bench: Workbench) -> None:
    """Tell what lies ahead, in optimizer steps of the full model."""
    subject = bench.subject
    work: dict[Stage, float] = {}
    if subject.trains:
        assert subject.train is not None
        steps = float(total_steps(len(subject.train), subject.recovery))
        work = {Stage.BASELINE: steps * subject.wants_baseline, Stage.RECOVERING: steps * 2 / 3}
    bench.story.expect(work, benchmark_seconds=len(subject.latency_cells) * 2 * latency.SECONDS_A_CELL)


def make_baseline(bench: Workbench, source: PreTrainedModel) -> PreTrainedModel | None:
    """The full model fine-tuned on the task; None where the job wants none.

    `distill` drops from the baseline, so there ``source`` itself is trained; `finetune` drops from the pre-trained
    model, so there a copy is.
    """
    subject = bench.subject
    if not subject.wants_baseline:
        bench.story.skip(Stage.BASELINE, "nothing is trained" if not subject.trains else "evaluation.baseline is false")
        return None
    baseline = source if subject.recovery.method == "distill" else copy.deepcopy(source)

    def make(folder: Path) -> None:
        assert subject.train is not None
        train_on(bench, Stage.BASELINE, baseline, label_objective(subject.train.labels, subject.device))
        keeping.save_baseline(baseline, bench.trainings[Stage.BASELINE.value], folder)

    with bench.story.stage(Stage.BASELINE):
        folder = bench.ledger.get("baseline", subject.baseline_print, make)
        if Stage.BASELINE.value not in bench.trainings:
            bench.trainings[Stage.BASELINE.value] = keeping.load_baseline(baseline, folder)
            bench.story.spare(Stage.BASELINE)
    return baseline


def choose_layers(bench: Workbench, model: PreTrainedModel) -> Plan:
    """Measure the layers where the strategy asks for it, and make the plan."""
    subject, prune = bench.subject, bench.subject.request.prune
    strategy = STRATEGIES[prune.strategy]
    scores = None
    if strategy.measure is None:
        bench.story.skip(Stage.SCORING, f"strategy {strategy.name} needs no scores")
    else:
        with bench.story.stage(Stage.SCORING):
            scores = measure_layers(bench, model)[strategy.measure]
    with bench.story.stage(Stage.PLANNING):
        plan = make_plan(prune, subject.facts, seed=subject.request.seed, scores=scores)
        for warning in plan.warnings:
            bench.story.warn(warning)
        bench.story.resolved({"plan": plan.model_dump(mode="json", include={"kept", "dropped", "protected", "scores"})})
    return plan


def measure_layers(bench: Workbench, model: PreTrainedModel) -> dict[str, list[float]]:
    """Of the model that layers are dropped from: the baseline where the job distills, else the source."""
    subject = bench.subject
    needs_data = STRATEGIES[subject.request.prune.strategy].needs_data
    distills = subject.recovery.method == "distill"
    data = {"train": subject.prints.get("train"), "rows": CALIBRATION_ROWS, "seed": subject.request.seed}
    fingerprint = subject.print_of(
        "layer_scores",
        model=subject.baseline_print if distills else subject.source_print,
        data=data if needs_data else None,
    )
    take = activations_of if needs_data else weights_of
    return bench.ledger.share("layer_scores", fingerprint, lambda: take(subject, model))


def weights_of(subject: Subject, model: PreTrainedModel) -> dict[str, list[float]]:
    return measure_weights(model, subject.architecture)


def activations_of(subject: Subject, model: PreTrainedModel) -> dict[str, list[float]]:
    rows = subject.calibration()
    batches = (collate(rows, batch, subject.device) for batch in scoring_batches(rows))
    return measure_activations(model, subject.architecture, batches)


def prune(bench: Workbench, source: PreTrainedModel, plan: Plan) -> PreTrainedModel:
    """A copy with the layers gone."""
    with bench.story.stage(Stage.PRUNING):
        pruned = copy.deepcopy(source)
        assert plan.kept is not None
        drop_layers(pruned, bench.subject.architecture, plan.kept)
    return pruned


def recover(bench: Workbench, baseline: PreTrainedModel | None, pruned: PreTrainedModel) -> None:
    subject, recovery = bench.subject, bench.subject.recovery
    if not subject.trains:
        bench.story.skip(Stage.RECOVERING, "recovery.method is none")
        return
    with bench.story.stage(Stage.RECOVERING):
        assert subject.train is not None
        objective = label_objective(subject.train.labels, subject.device)
        if recovery.method == "distill":
            assert baseline is not None
            bench.story.log(
                f"the baseline answers the {len(subject.train)} training rows that the pruned model learns from"
            )
            objective = distillation_objective(
                baseline_logits(bench, baseline),
                subject.train.labels,
                subject.device,
                temperature=recovery.temperature,
                label_weight=recovery.label_weight,
            )
        train_on(bench, Stage.RECOVERING, pruned, objective)


def baseline_logits(bench: Workbench, baseline: PreTrainedModel) -> npt.NDArray[np.float32]:
    """The baseline's answers to the training rows, ``(N, C)``, in row order."""
    subject = bench.subject
    assert subject.train is not None
    fingerprint = subject.print_of("baseline_logits", baseline=subject.baseline_print)
    answer = partial(logits_of, baseline, subject.train, subject.device)
    return bench.ledger.share("baseline_logits", fingerprint, answer)


def train_on(bench: Workbench, stage: Stage, model: PreTrainedModel, objective: Objective) -> None:
    subject, last = bench.subject, time.perf_counter()
    assert subject.train is not None

    def on_step(step: Step) -> None:
        nonlocal last
        now = time.perf_counter()
        bench.story.step(stage, step, now - last)
        last = now

    bench.trainings[stage.value] = train(
        model,
        subject.train,
        objective,
        subject.recovery,
        seed=subject.request.seed,
        device=subject.device,
        on_step=on_step,
    )


def measure(bench: Workbench, before: PreTrainedModel, after: PreTrainedModel) -> outcome.Measured:
    """Scores and speed, before and after."""
    subject, story = bench.subject, bench.story
    scores: list[Scores | None] = [None, None]
    compares = subject.wants_baseline or not subject.trains
    if subject.scored:
        with story.stage(Stage.EVALUATING):
            scores = [score_before(bench, before) if compares else None, score(bench, after)]
            for side, found in zip(("before", "after"), scores, strict=True):
                for name, value in (found.metrics if found else {}).items():
                    story.metric(name, value, side=side)
    else:
        story.skip(Stage.EVALUATING, "nothing was trained, and the model has no head for the task")
    with story.stage(Stage.BENCHMARKING):
        vocabulary, device = int(before.config.get_text_config().vocab_size), subject.device
        tokens = subject.recovery.max_length
        latencies = latency.measure((before, after), subject.latency_cells, vocabulary=vocabulary, device=device)
        flops = [latency.flops(model, tokens=tokens, vocabulary=vocabulary, device=device) for model in (before, after)]
    return outcome.Measured.of((before, after), scores, latencies, flops, subject.dtype)


def score_before(bench: Workbench, before: PreTrainedModel) -> Scores:
    subject, data = bench.subject, bench.subject.data
    assert data is not None
    fingerprint = subject.print_of(
        "baseline_scores",
        model=subject.baseline_print if subject.wants_baseline else subject.source_print,
        dev=[subject.prints[f"dev:{split}"] for split in data.dev],
        splits=list(data.dev),
        metrics=data.metrics,
        labels=data.label_names,
    )
    return bench.ledger.share("baseline_scores", fingerprint, lambda: score(bench, before))


def score(bench: Workbench, model: PreTrainedModel) -> Scores:
    data = bench.subject.data
    assert data is not None
    return evaluate(
        model,
        bench.subject.dev,
        data.metrics,
        regression=data.regression,
        device=bench.subject.device,
        order=label_order(model.config.id2label, data.label_names),
    )
