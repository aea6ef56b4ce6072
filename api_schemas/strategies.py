"""STRATEGIES: which layers go. Pure arithmetic on indexes, counted from 0 in the original model.

A fixed strategy needs only the number of layers. A ranked one goes by their importance, by a *measure* of ``MEASURES``:
one number a layer, or one a block of layers, taken by the worker (``workers/pruning/importance.py``). The golden lists
for 12 layers are in the tests.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from api_schemas.errors import LayercutError
from api_schemas.registry import Registry

SAJJAD = "Sajjad et al. 2023, arXiv 2004.03844"
GROMOV = "Gromov et al. 2024, arXiv 2403.17887"

#: One number a layer; or, for a measure of blocks, ``distances[l][m]`` between the inputs of layers l and m (m = number
#: of layers: the last layer's output).
LayerImportance = list[float] | list[list[float]]


Kind = Literal["fixed", "ranked", "measured", "searched", "explicit", "none"]


@dataclass(frozen=True)
class Question:
    """What a rule is asked: ``drop`` of ``total`` layers, never one of ``protected``.

    ``importance`` are one a layer; for a rule that drops a block, one a block of ``drop`` layers, by its first layer.
    """

    total: int
    drop: int
    protected: frozenset[int] = frozenset()
    importance: tuple[float, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Measure:
    """What a ranked strategy ranks by. All measures that are taken from one thing come of one pass over the data.

    ``blocks``: it is one number for each pair of depths, and not one a layer.
    """

    name: str
    taken_from: Literal["weights", "activations", "gradients", "removals"]
    blocks: bool = False


MEASURES: Registry[Measure] = Registry("measure", "validation_failed", (
    Measure("weight_mean_abs", "weights"),
    Measure("weight_variance", "weights"),
    Measure("summary_cosine", "activations"),
    Measure("block_influence", "activations"),
    Measure("angular_distance", "activations", blocks=True),
    Measure("taylor", "gradients"),
    Measure("removal_step", "removals"),
))  # fmt: skip


@dataclass(frozen=True)
class Strategy:
    """One rule that names the layers to drop. ``measure`` is what a ranked strategy ranks by.

    ``summary`` says in two sentences what goes and why, ``when`` in one when to use it.
    """

    name: str
    summary: str
    when: str
    reference: str
    kind: Kind
    rule: Callable[[Question], list[int]]
    measure: str | None = None
    drops: Literal["highest", "lowest"] | None = None
    takes_threshold: bool = False

    @property
    def needs_importance(self) -> bool:
        return self.measure is not None

    @property
    def searches(self) -> bool:
        """Whether its layers are known only after a search, in which the other strategies' choices compete."""
        return self.kind == "searched"

    @property
    def drops_nothing(self) -> bool:
        """Whether the model stays as it is: it is evaluated, or what an earlier job left of it is recovered."""
        return self.kind == "none"

    @property
    def spares_ends(self) -> bool:
        """Whether the first layer stays, and a decoder's last, unless it is asked otherwise."""
        return self.needs_importance or self.searches

    @property
    def needs_data(self) -> bool:
        """Whether its measure is taken on text: the task's, or that of ``prune.calibration``."""
        return self.searches or (self.measure is not None and MEASURES[self.measure].taken_from != "weights")

    @property
    def needs_labels(self) -> bool:
        """Whether its measure is taken on a loss, so that text alone will not do where a task is given."""
        return self.measure is not None and MEASURES[self.measure].taken_from == "gradients"

    @property
    def needs_head(self) -> bool:
        """Whether its measure is taken on the model's answers: those of a head that has learnt nothing tell nothing."""
        return self.measure is not None and MEASURES[self.measure].taken_from in ("gradients", "removals")

    @property
    def drops_block(self) -> bool:
        """Whether the layers that it drops follow one another, and are scored together."""
        return self.measure is not None and MEASURES[self.measure].blocks


def _top(q: Question) -> list[int]:
    return list(range(q.total - q.drop, q.total))


def _bottom(q: Question) -> list[int]:
    return list(range(q.drop))


def _symmetric(q: Question) -> list[int]:
    # An odd number kept keeps the extra layer at the bottom: the paper leaves this open.
    first = (q.total - q.drop + 1) // 2
    return list(range(first, first + q.drop))


def _alternate(parity: int) -> Callable[[Question], list[int]]:
    """Going down from the top, every second layer; ``parity`` is that of the index counted from 0."""

    def rule(q: Question) -> list[int]:
        half = q.total // 2
        if q.drop > half:
            raise LayercutError(
                "invalid_layers",
                f"alternate strategies drop every second layer: at most {half} of {q.total}, not {q.drop}",
                param="/prune/drop",
            )
        highest = q.total - 1 if (q.total - 1) % 2 == parity else q.total - 2
        return sorted(range(highest, -1, -2)[: q.drop])

    return rule


def _random(q: Question) -> list[int]:
    free = [layer for layer in range(q.total) if layer not in q.protected]
    return sorted(random.Random(q.seed).sample(free, q.drop))


def ranking(name: str, importance: LayerImportance, drop: int) -> list[float]:
    """What ``name`` ranks by when ``drop`` layers go: one number a layer, or one a block, by its first layer."""
    if not STRATEGIES[name].drops_block:
        return cast(list[float], importance)
    distances = cast(list[list[float]], importance)
    check_count(len(distances) - 1, drop)
    return [distances[first][first + drop] for first in range(len(distances) - drop)]


def _ranked(drops: Literal["highest", "lowest"]) -> Callable[[Question], list[int]]:
    sign = -1.0 if drops == "highest" else 1.0

    def rule(q: Question) -> list[int]:
        free = (layer for layer in range(q.total) if layer not in q.protected)
        # A tie goes to the higher layer, as in greedy layer pruning.
        return sorted(sorted(free, key=lambda layer: (sign * q.importance[layer], -layer))[: q.drop])

    return rule


def _nearest_block(q: Question) -> list[int]:
    starts = [first for first in range(q.total - q.drop + 1) if q.protected.isdisjoint(range(first, first + q.drop))]
    if not starts:
        raise LayercutError(
            "invalid_layers",
            f"no {q.drop} layers in a row are free while {sorted(q.protected)} of {q.total} are protected",
            param="/prune/protect_layers",
        )
    first = min(starts, key=lambda start: (q.importance[start], -start))
    return list(range(first, first + q.drop))


def _nothing(q: Question) -> list[int]:
    return []


def _as_asked(q: Question) -> list[int]:
    raise LayercutError(
        "validation_failed", "strategy 'explicit' takes drop_layers or keep_layers", param="/prune/drop_layers"
    )


# fmt: off
STRATEGIES: Registry[Strategy] = Registry("strategy", "unknown_strategy", (
    Strategy("top", "Drops the highest layers, next to the task head. They are the most specialised to what the model "
             "was pre-trained for, and a new task can do without them.",
             "The safe first choice: the paper's best at a third and a half of the layers.",
             SAJJAD, "fixed", _top),
    Strategy("bottom", "Drops the lowest layers, next to the embeddings. What the layers above were trained to read is "
             "then gone.",
             "A control: the paper finds it the worst of all.", SAJJAD, "fixed", _bottom),
    Strategy("symmetric",
             "Drops the middle and keeps both ends; an odd number kept keeps the extra layer at the bottom. Both ends "
             "may matter more than what lies between them.",
             "Worth a try on BERT; XLNet does not forgive the loss of its middle.", SAJJAD, "fixed", _symmetric),
    Strategy("alternate_odd", "Going down from the top, drops every second layer: "
             "those odd when counted from 1, as the paper does. Neighbours do much the same, so each that goes has one "
             "that stays.",
             "The paper's best at a sixth of the layers.", SAJJAD, "fixed", _alternate(parity=0)),
    Strategy("alternate_even", "Going down from the top, drops every second layer: "
             "those even when counted from 1, as the paper does. Neighbours do much the same, so each that goes has "
             "one that stays.",
             "Like alternate_odd, and the last layer goes too.", SAJJAD, "fixed", _alternate(parity=1)),
    Strategy("explicit", "Drops or keeps the layers that the request lists. Nothing is measured and nothing is added.",
             "When you know better, or repeat an earlier job.", SAJJAD, "explicit", _as_asked),
    Strategy("none", "Drops nothing. The model is evaluated as it is, or what an earlier job left of it is recovered "
             "again.",
             "To evaluate only, or with `recovery.from` to recover an earlier job's result with more effort.",
             "ours", "none", _nothing),
    Strategy("random", "Drops layers drawn with the job's seed. Every free layer is as likely to go as any other.",
             "A control: a strategy that does not beat it has no case.", SAJJAD, "fixed", _random),
    Strategy("contribution", "Drops the layers whose output is most like their input: the mean cosine of the summary "
             "token before and after the layer. By count, or, as in the paper, all above a threshold.",
             "When the data should have a say on an encoder that answers from its summary token; a cheap first filter.",
             SAJJAD, "ranked", _ranked("highest"),
             measure="summary_cosine", drops="highest", takes_threshold=True),
    Strategy("block_influence", "Drops the layers with the lowest block influence: 1 minus the mean cosine of a "
             "layer's input and output over all tokens. A layer that hardly turns the states of any token is one that "
             "hardly does anything.",
             "The usual first filter on decoders, and on models where every token counts.",
             "Men et al. 2024 (ShortGPT), arXiv 2403.03853", "ranked", _ranked("lowest"),
             measure="block_influence", drops="lowest"),
    Strategy("angular", "Drops the one block of layers that follow one another whose input and output are nearest: the "
             "mean angle at the summary token, over pi. What stays above the block then reads something close to what "
             "it was trained to read.",
             "On decoders, where single layers taken out here and there cost more than a block.",
             GROMOV, "ranked", _nearest_block, measure="angular_distance", drops="lowest"),
    Strategy("taylor", "Drops the layers whose removal moves the loss least, to first order: the mean over rows of "
             "|gradient at the layer's output times what the layer added|. The loss is the task's; without a task, "
             "that of the model's own language-model head.",
             "When what matters is the task and not how much the states turn; it costs a backward pass.",
             "after Michel et al. 2019, arXiv 1905.10650 (heads), and Kim et al. 2024, arXiv 2402.02834 (Taylor)",
             "ranked", _ranked("lowest"), measure="taylor", drops="lowest"),
    Strategy("greedy", "Takes out the layer without which the model's answers change least, and again from what is "
             "left. The model itself is asked each time, so layers that stand in for one another are seen.",
             "When a better choice is worth some minutes: the reference that measures are held against.",
             "after Peer et al. 2022, arXiv 2105.14839 (by fine-tuned score), and Song et al. 2024 (SLEB), arXiv "
             "2402.09025", "measured", _ranked("lowest"), measure="removal_step", drops="lowest"),
    Strategy("auto", "Lets the choices of all other strategies compete: each is trained a little and the better ones "
             "more, and the choice of `top` wins unless another comes clearly nearer to the baseline's answers on "
             "held-out training rows. With `objective` it also finds how many layers may go.",
             "When the best choice, or the right size, is worth half a recovery more.",
             "successive halving: Jamieson & Talwalkar 2016, arXiv 1502.07943", "searched", _ranked("lowest")),
    Strategy("parameter_aggregate", "Drops the layers with the lowest mean |w| over their weight matrices. "
             "The formula is ours: the paper names the family and prints none.",
             "When there is no data at hand.", SAJJAD, "ranked", _ranked("lowest"),
             measure="weight_mean_abs", drops="lowest"),
    Strategy("parameter_variance", "Drops the layers with the lowest variance over their weight matrices. "
             "The formula is ours: the paper names the family and prints none.",
             "When there is no data at hand.", SAJJAD, "ranked", _ranked("lowest"),
             measure="weight_variance", drops="lowest"),
))
# fmt: on


@dataclass(frozen=True)
class Selection:
    """Layers to drop and to keep, both ascending, counted from 0 in the original model."""

    dropped: list[int]
    kept: list[int]
    warnings: list[str]


def select_layers(name: str, question: Question) -> Selection:
    """Which layers ``name`` drops; raises ``invalid_layers`` where it cannot."""
    strategy = STRATEGIES.find(name, "/prune/strategy")
    if strategy.drops_nothing:
        return Selection(dropped=[], kept=list(range(question.total)), warnings=[])
    check_count(question.total, question.drop)
    free = question.total - len(question.protected)
    if question.drop > free:
        raise LayercutError(
            "invalid_layers",
            f"cannot drop {question.drop} of {question.total} layers while {sorted(question.protected)} are protected:"
            f" only {free} are free",
            param="/prune/protect_layers",
        )
    dropped = strategy.rule(question)
    return _selection(question, dropped, _warnings(strategy, question))


def select_explicit(total: int, *, drop: Sequence[int] | None, keep: Sequence[int] | None) -> Selection:
    """The layers of ``drop``, or all but those of ``keep``; raises ``invalid_layers``."""
    field, layers = ("drop_layers", drop) if drop is not None else ("keep_layers", keep or [])
    _check_list(layers, total, f"/prune/{field}")
    dropped = sorted(layers) if drop is not None else sorted(set(range(total)) - set(layers))
    check_count(total, len(dropped), f"/prune/{field}")
    return _selection(Question(total, len(dropped)), dropped, [])


def select_threshold(name: str, question: Question, threshold: float) -> Selection:
    """Every unprotected layer whose score is above ``threshold``: the paper's own form of `contribution`."""
    above = [
        layer
        for layer, score in enumerate(question.importance)
        if score > threshold and layer not in question.protected
    ]
    everything = all(score > threshold for score in question.importance)
    if not above or everything:
        what = "every layer" if everything else f"no layer{' that may go' if question.protected else ''}"
        ranked = ", ".join(f"{layer}: {score:.4f}" for layer, score in enumerate(question.importance))
        raise LayercutError(
            "invalid_layers", f"{what} lies above {threshold}; the importance is {ranked}", param="/prune/threshold"
        )
    return _selection(question, above, [])


def check_count(total: int, drop: int, param: str = "/prune/drop") -> None:
    """Raise ``invalid_layers`` unless at least one layer goes and at least one stays."""
    if drop < 1:
        raise LayercutError(
            "invalid_layers", f"at least one of the {total} layers must be dropped, not {drop}", param=param
        )
    if drop >= total:
        raise LayercutError(
            "invalid_layers",
            f"the model has {total} layers and at least one must stay: drop at most {total - 1}, not {drop}",
            param=param,
        )


def _check_list(layers: Collection[int], total: int, param: str) -> None:
    if not layers:
        raise LayercutError("invalid_layers", "the list of layers is empty", param=param)
    repeated = sorted(layer for layer, times in Counter(layers).items() if times > 1)
    if repeated:
        raise LayercutError("invalid_layers", f"layers {repeated} are listed more than once", param=param)
    outside = sorted(layer for layer in layers if not 0 <= layer < total)
    if outside:
        raise LayercutError(
            "invalid_layers",
            f"layers {outside} do not exist: {total} layers are numbered 0 to {total - 1}",
            param=param,
        )


def _selection(question: Question, dropped: list[int], warnings: list[str]) -> Selection:
    lost = sorted(question.protected.intersection(dropped))
    if lost:
        raise LayercutError(
            "invalid_layers",
            f"layers {lost} are protected, but this strategy drops {dropped}",
            param="/prune/protect_layers",
        )
    kept = [layer for layer in range(question.total) if layer not in set(dropped)]
    if len(dropped) * 2 > question.total:
        warnings = [*warnings, f"{len(dropped)} of {question.total} layers go: expect to need a longer recovery"]
    return Selection(dropped=dropped, kept=kept, warnings=warnings)


def _warnings(strategy: Strategy, q: Question) -> list[str]:
    if strategy.name == "symmetric" and (q.total - q.drop) % 2:
        return [f"{q.total - q.drop} layers stay, an odd number: the extra one is kept at the bottom"]
    return []
