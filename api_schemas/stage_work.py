"""What each stage of a job computes, told from its request, its model's facts and the size of its data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from api_schemas.architectures import ModelFacts
from api_schemas.arithmetic import Sizes, Work
from api_schemas.curves import sizes_of
from api_schemas.data_size import DataSize, SplitSize
from api_schemas.delivered import Start
from api_schemas.further import left_spec
from api_schemas.jobs import Stage
from api_schemas.plans import Plan, all_protected, drop_count, removal_steps
from api_schemas.pruning import PruneSpec
from api_schemas.recovery import Precision, Recovery
from api_schemas.requests import EvaluationSpec
from api_schemas.search import most_steps
from api_schemas.speeds import Speed
from api_schemas.stacks import parts_of
from api_schemas.strategies import MEASURES, STRATEGIES
from api_schemas.task_spec import TaskSpec

#: Seconds that a stage takes whatever it computes, and bytes a second of what it reads or writes.
RESOLVE_SECONDS, LOAD_BYTES, TOKENIZED_BYTES = 2.0, 4e8, 1.5e6
OF_FILES: dict[Stage, tuple[float, float]] = {
    Stage.EXPORTING: (0.5, 2e8),
    Stage.VERIFYING: (10.0, 2e8),
    # With what comes before the first stage: a runner that has yet to start, and staging.
    Stage.PUBLISHING: (4.0, 2e8),
}
PRUNE_SECONDS = 0.1
#: As `workers/evaluation/latency.py` measures.
FEWEST_RUNS, MOST_RUNS, WARM_UP_RUNS, SECONDS_A_CELL = 5, 50, 2, 2.0
#: As `workers/search/halving.py` lets candidates compete: about so many of a size, and trials of them that learn.
CANDIDATES, TRIALS, TRIAL_SECONDS = 10, 11, 0.3
#: Rows that are held out of a training: at most, and as a share.
HELD_OUT, HELD_SHARE = 1000, 0.1


@dataclass(frozen=True)
class Asked:
    """What is asked of which model. ``plan`` where it names the layers; ``start`` of ``recovery.from``."""

    facts: ModelFacts
    task: TaskSpec
    prune: PruneSpec
    recovery: Recovery
    evaluation: EvaluationSpec
    plan: Plan | None = None
    start: Start | None = None

    @cached_property
    def sizes(self) -> Sizes:
        return Sizes.of(self.facts)

    @property
    def left(self) -> ModelFacts:
        """What layers are scored in, and go of: what an earlier job left of the model, or all of it."""
        return self.facts if self.start is None else self.start.model

    @property
    def evaluates_only(self) -> bool:
        """Whether the model stays as it is, and only a report is delivered."""
        drops_nothing = STRATEGIES[self.prune.strategy].drops_nothing
        return drops_nothing and self.recovery.method == "none" and self.start is None

    @property
    def trains(self) -> bool:
        return self.task.trains and self.recovery.method != "none"

    @property
    def baseline(self) -> bool:
        """Whether the full model is trained first."""
        kind = self.task.task_kind
        taught = kind is not None and kind.teacher == "trained"
        return self.trains and taught and (self.recovery.method == "distill" or self.evaluation.baseline)

    @property
    def seeds(self) -> int:
        return len(self.evaluation.seeds or (0,)) if self.trains else 1

    @cached_property
    def kept(self) -> int:
        """Layers that are left; where only a measurement can tell, about."""
        if self.plan is not None and self.plan.kept is not None:
            return len(self.plan.kept)
        asked = [(part.spec, part.layers) for part in parts_of(self._countable, self.left)]
        gone = sum(drop_count(spec, self.left, layers) for spec, layers in asked if spec is not None)
        return max(1, self.left.layers - gone)

    @property
    def notes(self) -> list[str]:
        if self.plan is not None and self.plan.kept is not None:
            return []
        if self.prune.threshold is None and not self.prune.open_size:
            return []
        return ["how many layers go is known once it is measured: a third of them was taken"]

    def precision(self, speed: Speed) -> Precision:
        return speed.precision if self.recovery.precision == "auto" else self.recovery.precision

    @property
    def _countable(self) -> PruneSpec:
        """With an amount, a third, in place of what only a measurement can tell."""
        if self.prune.threshold is None and not self.prune.open_size:
            return self.of_left
        return self.of_left.model_copy(update={"threshold": None, "objective": None})

    @property
    def of_left(self) -> PruneSpec:
        """What is asked, its lists numbered in what is left."""
        return left_spec(self.prune, self.start)


def file_seconds(stage: Stage, size: float) -> float:
    """Of a stage that writes, or reads again, ``size`` bytes of files."""
    seconds, a_second = OF_FILES[stage]
    return seconds + size / a_second


def resolve_seconds(weights: float, text: float) -> float:
    """Of reading so many bytes of weights, and of tokenizing so many of text."""
    return RESOLVE_SECONDS + weights / LOAD_BYTES + text / TOKENIZED_BYTES


def stage_work(asked: Asked, data: DataSize | None, speed: Speed) -> dict[Stage, Work]:
    """In the order of the stages; those that are passed over are left out. Scoring data is read by ``task: none`` too,
    where its head has learnt it.
    """
    works = {
        Stage.RESOLVING: _resolving(asked, data),
        **(_trainings(asked, data) if data is not None else {}),
        Stage.PRUNING: Work(seconds=PRUNE_SECONDS * asked.seeds),
        Stage.BENCHMARKING: _benchmarking(asked, speed),
        **{stage: Work(seconds=file_seconds(stage, _bytes(asked, asked.kept))) for stage in OF_FILES},
        **(_ONLY_A_REPORT if asked.evaluates_only else {}),
    }
    return {stage: works[stage] for stage in Stage if works.get(stage, Work()) != Work()}


#: Where the model stays as it is.
_ONLY_A_REPORT = {
    Stage.PRUNING: Work(),
    Stage.EXPORTING: Work(),
    Stage.VERIFYING: Work(),
    Stage.PUBLISHING: Work(seconds=file_seconds(Stage.PUBLISHING, 0)),
}


def _trainings(asked: Asked, data: DataSize) -> dict[Stage, Work]:
    found = {Stage.SCORING: _scoring(asked, data), Stage.EVALUATING: _evaluating(asked, data) * asked.seeds}
    if not asked.trains:
        return found
    found[Stage.RECOVERING] = recovering(asked, data) * asked.seeds
    if asked.baseline:
        found[Stage.BASELINE] = _baseline(asked, data) * asked.seeds
    if STRATEGIES[asked.prune.strategy].searches:
        found[Stage.PLANNING] = _searching(asked, data)
    return found


def _bytes(asked: Asked, layers: int) -> float:
    """Of the files of a model of so many layers."""
    sizes, facts = asked.sizes, asked.facts
    whole = sizes.parameters(sizes.layers)
    a_weight = facts.bytes / whole if facts.bytes and whole else 4.0
    return a_weight * sizes.parameters(layers)


def _resolving(asked: Asked, data: DataSize | None) -> Work:
    splits = (data.train, data.dev, data.text) if data is not None else ()
    text = sum(split.bytes for split in splits if split is not None)
    return Work(seconds=resolve_seconds(_bytes(asked, asked.sizes.layers), text))


def _baseline(asked: Asked, data: DataSize) -> Work:
    whole, rows = asked.recovery.of_baseline(), data.train
    length = rows.tokens_a_row(whole.max_length)
    return asked.sizes.training(
        asked.sizes.layers, whole.steps_of(rows.rows), whole.epochs * rows.rows * length, length
    )


def recovering(asked: Asked, data: DataSize) -> Work:
    """Of one seed: the training, the baseline's answers, and what the kept checkpoint is chosen by."""
    recovery, sizes = asked.recovery, asked.sizes
    rows, length = _learnt(data, recovery)
    work = sizes.training(
        asked.kept, recovery.steps_of(rows), recovery.epochs * rows * length, length,
        teacher=sizes.layers if live(recovery) else 0,
    )  # fmt: skip
    if recovery.method == "distill" and not live(recovery):
        work += sizes.inference(sizes.layers, rows * length, length)
    if recovery.checkpoint == "best":
        work += sizes.inference(asked.kept, math.ceil(recovery.epochs) * _held(rows) * length, length)
    return work


def _learnt(data: DataSize, recovery: Recovery) -> tuple[int, float]:
    """Rows that the pruned model learns from, and tokens of one."""
    splits = [data.train, *([data.text] if data.text is not None else [])]
    rows = sum(split.rows for split in splits)
    tokens = sum(split.rows * split.tokens_a_row(recovery.max_length) for split in splits)
    return rows, tokens / max(1, rows)


def live(recovery: Recovery) -> bool:
    """Whether the baseline answers every batch anew."""
    return recovery.method == "distill" and bool(recovery.hidden_weight or recovery.noise)


def _held(rows: int) -> int:
    return max(1, min(HELD_OUT, int(rows * HELD_SHARE)))


def _evaluating(asked: Asked, data: DataSize) -> Work:
    """Both models on all dev splits, or the one that there is."""
    compares = asked.baseline or asked.task.task_kind is None or not asked.trains
    both = not asked.evaluates_only and (compares or asked.recovery.method == "distill")
    length = data.dev.tokens_a_row(asked.recovery.max_length)
    layers = asked.kept + (asked.sizes.layers if both else 0)
    return asked.sizes.inference(layers, data.dev.rows * length, length)


def _scoring(asked: Asked, data: DataSize) -> Work:
    strategy = STRATEGIES[asked.prune.strategy]
    rows = min(asked.prune.calibration.rows, data.train.rows)
    if strategy.searches:  # every measure, each pass once
        return sum((taken(asked, data.train.of(rows)) for taken in PASSES.values()), Work())
    if strategy.measure is None:
        return Work()
    return PASSES[MEASURES[strategy.measure].taken_from](asked, data.train.of(rows))


def _weights(asked: Asked, _: SplitSize) -> Work:
    return Work(seconds=_bytes(asked, asked.left.layers) / LOAD_BYTES)


def _activations(asked: Asked, text: SplitSize) -> Work:
    length = text.tokens_a_row(asked.recovery.max_length)
    return asked.sizes.inference(asked.left.layers, text.rows * length, length)


def _gradients(asked: Asked, text: SplitSize) -> Work:
    return _activations(asked, text) * 3


def _removals(asked: Asked, text: SplitSize) -> Work:
    """Each step tries every layer that is left, and computes what lies above it: half of the layers, on average."""
    layers = asked.left.layers
    free = layers - len(all_protected(asked.of_left, asked.left))
    tried = sum((free - step) * (layers - step) / 2 for step in range(_removal_steps(asked)))
    return _activations(asked, text) * (tried / layers)


def _removal_steps(asked: Asked) -> int:
    if not asked.prune.open_size:
        return removal_steps(asked.of_left, asked.left)
    return max(1, asked.left.layers // 2)


PASSES: dict[str, Callable[[Asked, SplitSize], Work]] = {
    "weights": _weights,
    "activations": _activations,
    "gradients": _gradients,
    "removals": _removals,
}


def _searching(asked: Asked, data: DataSize) -> Work:
    """Brackets of trainings that are shares of the recovery's, and what candidates are compared on."""
    goal = asked.prune.objective
    by_retention = goal is not None and goal.min_retention is not None
    sizes = len(sizes_of(asked.prune, asked.facts))
    rows, length = data.train.rows, data.train.tokens_a_row(asked.recovery.max_length)
    full = asked.recovery.steps_of(rows)
    steps = most_steps(full, sizes, by_retention=by_retention)
    brackets = steps / most_steps(full, 1, by_retention=False) if by_retention else 1.0
    judged = asked.sizes.inference(asked.kept, (CANDIDATES + TRIALS) * _held(rows) * length, length)
    trained = recovering(asked, DataSize(data.train, data.dev)) * (steps / full)
    return trained + (judged + Work(seconds=TRIALS * TRIAL_SECONDS)) * brackets


def _benchmarking(asked: Asked, speed: Speed) -> Work:
    """Both models in turns, until the time of a cell is over, and neither too few runs nor too many. One alone takes
    half as long.
    """
    spec, sizes = asked.evaluation.latency, asked.sizes
    models = 1 if asked.evaluates_only else 2
    both = sizes.layers + (asked.kept if models == 2 else 0)
    total = sizes.inference(both * 2, asked.recovery.max_length, asked.recovery.max_length)
    rate = speed.rate("inference", "fp32", sizes.width)
    for batch in spec.batch_sizes:
        for tokens in spec.sequence_lengths:
            length = min(tokens, asked.facts.max_positions or tokens)
            once = sizes.forward(both, batch * length, length) / rate + both * speed.layer_seconds
            runs = min(MOST_RUNS, max(FEWEST_RUNS, models * SECONDS_A_CELL / once)) + WARM_UP_RUNS
            total += Work(seconds=runs * once)
    return total
