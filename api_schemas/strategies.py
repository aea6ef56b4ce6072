"""STRATEGIES: which layers go. Pure arithmetic on indexes, counted from 0 in the original model.

A fixed strategy needs only the number of layers. A scored one ranks the layers by a *measure*: one number a
layer, taken by the worker (``workers/pruning/scoring.py``). The golden lists for 12 layers are in the tests.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from api_schemas.errors import LayercutError
from api_schemas.registry import Registry

SAJJAD = "Sajjad et al. 2023, arXiv 2004.03844"


@dataclass(frozen=True)
class Question:
    """What a rule is asked: ``drop`` of ``total`` layers, never one of ``protected``; ``scores`` one a layer."""

    total: int
    drop: int
    protected: frozenset[int] = frozenset()
    scores: tuple[float, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Strategy:
    """One rule that names the layers to drop. ``measure`` is what a scored strategy ranks by."""

    name: str
    summary: str
    when: str
    reference: str
    kind: Literal["fixed", "scored", "explicit"]
    rule: Callable[[Question], list[int]]
    measure: str | None = None
    drops: Literal["highest", "lowest"] | None = None
    takes_threshold: bool = False

    @property
    def needs_scores(self) -> bool:
        return self.measure is not None

    @property
    def needs_data(self) -> bool:
        """Whether its measure is taken on a slice of the task's training set."""
        return self.measure in DATA_MEASURES


DATA_MEASURES = frozenset({"summary_cosine"})


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


def _ranked(drops: Literal["highest", "lowest"]) -> Callable[[Question], list[int]]:
    sign = -1.0 if drops == "highest" else 1.0

    def rule(q: Question) -> list[int]:
        free = (layer for layer in range(q.total) if layer not in q.protected)
        # A tie goes to the higher layer, as in greedy layer pruning.
        return sorted(sorted(free, key=lambda layer: (sign * q.scores[layer], -layer))[: q.drop])

    return rule


def _as_asked(q: Question) -> list[int]:
    raise LayercutError(
        "validation_failed", "strategy 'explicit' takes drop_layers or keep_layers", param="/prune/drop_layers"
    )


# fmt: off
STRATEGIES: Registry[Strategy] = Registry("strategy", "unknown_strategy", (
    Strategy("top", "Drops the highest layers, next to the task head.",
             "The safe first choice: the paper's best at a third and a half of the layers.",
             SAJJAD, "fixed", _top),
    Strategy("bottom", "Drops the lowest layers, next to the embeddings.",
             "A control: the paper finds it the worst of all.", SAJJAD, "fixed", _bottom),
    Strategy("symmetric",
             "Drops the middle and keeps both ends; an odd number kept keeps the extra layer at the bottom.",
             "Worth a try on BERT; XLNet does not forgive the loss of its middle.", SAJJAD, "fixed", _symmetric),
    Strategy("alternate_odd", "Going down from the top, drops every second layer: "
             "those odd when counted from 1, as the paper does.",
             "The paper's best at a sixth of the layers.", SAJJAD, "fixed", _alternate(parity=0)),
    Strategy("alternate_even", "Going down from the top, drops every second layer: "
             "those even when counted from 1, as the paper does.",
             "Like alternate_odd, and the last layer goes too.", SAJJAD, "fixed", _alternate(parity=1)),
    Strategy("explicit", "Drops or keeps the layers that the request lists.",
             "When you know better, or repeat an earlier job.", SAJJAD, "explicit", _as_asked),
    Strategy("random", "Drops layers drawn with the job's seed.",
             "A control: a strategy that does not beat it has no case.", SAJJAD, "fixed", _random),
    Strategy("contribution", "Drops the layers whose output is most like their input: mean cosine of the summary token "
             "before and after the layer over a slice of the training set; by count, or, as in the paper, all above a "
             "threshold.",
             "When the task's data should have a say; a cheap first filter.", SAJJAD, "scored", _ranked("highest"),
             measure="summary_cosine", drops="highest", takes_threshold=True),
    Strategy("parameter_aggregate", "Drops the layers with the lowest mean |w| over their weight matrices. "
             "The formula is ours: the paper names the family and prints none.",
             "When there is no data at hand.", SAJJAD, "scored", _ranked("lowest"),
             measure="weight_mean_abs", drops="lowest"),
    Strategy("parameter_variance", "Drops the layers with the lowest variance over their weight matrices. "
             "The formula is ours: the paper names the family and prints none.",
             "When there is no data at hand.", SAJJAD, "scored", _ranked("lowest"),
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
        layer for layer, score in enumerate(question.scores) if score > threshold and layer not in question.protected
    ]
    everything = all(score > threshold for score in question.scores)
    if not above or everything:
        what = "every layer" if everything else f"no layer{' that may go' if question.protected else ''}"
        ranked = ", ".join(f"{layer}: {score:.4f}" for layer, score in enumerate(question.scores))
        raise LayercutError(
            "invalid_layers", f"{what} scores above {threshold}; the scores are {ranked}", param="/prune/threshold"
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
