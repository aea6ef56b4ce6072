"""Rows pooled into sums that every metric can be worked out from, for thousands of weightings at once.

A row's *sums* are a vector; those of weighted rows are the weighted sum of the vectors. Of labels: which label is the
right one, whether it was given, and which was given, each one-hot. Of numbers: the moments that a correlation is of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse, stats

from api_schemas.task_kinds import TASK_KINDS
from workers.evaluation.label_sums import label_sums, macro_f1, micro_f1, ratio, thirds
from workers.evaluation.metrics import MetricLabels

Array = npt.NDArray[Any]

#: Numbers hardly ever repeat: their rows are weighted in so many random groups at most. What that does to the width of
#: an interval is 1 / sqrt(2 · MOST_GROUPS), some three percent of it.
MOST_GROUPS = 500
#: A lost answer to a number: the right one is so many standard deviations from the mean, and the mean is given.
LOST_DEVIATIONS = 2.0


@dataclass(frozen=True)
class Pool:
    """``cells``: for each seed, before and after, a ``(K, F)`` matrix of sums. ``shape`` ``(K,)`` is the shape of the
    gamma distribution of each cell's weight, and its mean. ``metric`` maps ``(..., F)`` sums to scores, 0 to 1.
    ``loss`` ``(2, F)`` are the sums of the row that would cost most were it lost, before and after; ``gain`` those of
    the one that would bring most.
    """

    cells: Sequence[tuple[Any, Any]]
    shape: Array
    metric: Callable[[Array], Array]
    loss: Array
    gain: Array

    def weights(self, rng: np.random.Generator, draws: int) -> Array:
        """``(draws, K)``. A row's weight is drawn from Exp(1), that of a cell of k rows from Gamma(k)."""
        size = (draws, len(self.shape))
        return rng.standard_exponential(size) if (self.shape == 1).all() else rng.standard_gamma(self.shape, size)

    def sums(self, weights: Array) -> Array:
        """``(seeds, 2, D, F)`` for ``(D, K)`` weights."""
        return np.stack([np.stack([weights @ side for side in pair]) for pair in self.cells])


def pool(metric: str, gold: Array, guesses: Array, labels: MetricLabels) -> Pool:
    """``gold`` ``(N, …)``, ``guesses`` ``(seeds, 2, N, …)``, as the metric takes them."""
    return POOLS[metric](metric, gold, guesses, labels)


def _pool_labels(metric: str, gold: Array, guesses: Array, labels: MetricLabels) -> Pool:
    """Rows with the same label and the same answers of all models are one cell; its weight is that of all of them."""
    count = len(labels.names)
    rows = np.concatenate([gold[None], guesses.reshape(-1, len(gold))]).astype(np.int64)
    distinct, shape = _distinct(rows, count)
    answers = distinct[1:].reshape(*guesses.shape[:2], -1)
    cells = [tuple(_one_hot(distinct[0], side, count) for side in pair) for pair in answers]
    score = partial(CLASS_METRICS[metric], labels=labels)
    frequent = np.argsort(-np.bincount(gold, minlength=count), kind="stable")
    right = np.arange(count)
    wrong = np.where(right == frequent[0], frequent[1], frequent[0])
    sides = [_one_hot(right, given, count).toarray() for given in (right, wrong)]
    point = np.stack([np.stack([shape @ side for side in pair]) for pair in cells])
    loss = _extreme(score, point, np.stack(sides), np.argmin)
    gain = _extreme(score, point, np.stack(sides[::-1]), np.argmax)
    return Pool(cells, shape, score, loss, gain)


def _distinct(rows: Array, count: int) -> tuple[Array, Array]:
    """The distinct columns of ``rows``, numbers below ``count``, and how often each occurs."""
    key, most = np.zeros(rows.shape[1], dtype=np.int64), 1
    for row in rows:
        if most > np.iinfo(np.int64).max // count:
            key, most = np.unique(key, return_inverse=True)[1], rows.shape[1]
        key, most = key * count + row, most * count
    _, first, often = np.unique(key, return_index=True, return_counts=True)
    return rows[:, first], often


def _one_hot(gold: Array, guess: Array, count: int) -> sparse.csr_array:
    """``(K, 3 · count)``: the right label, the right label where it is given, the label that is given."""
    rows, right = np.arange(len(gold)), gold == guess
    columns = np.concatenate([gold, count + gold[right], 2 * count + guess])
    values = np.ones(len(columns))
    return sparse.csr_array(
        (values, (np.concatenate([rows, rows[right], rows]), columns)), shape=(len(gold), 3 * count)
    )


def _extreme(score: Callable[[Array], Array], point: Array, rows: Array, pick: Callable[[Array], Any]) -> Array:
    """Of ``(2, L, F)`` rows the one, ``(2, F)``, whose gain is picked when added to ``point`` ``(seeds, 2, F)``."""
    before, after = score(point[:, :, None] + rows).mean(axis=0)
    return np.asarray(rows[:, pick(after - before)])


def _pool_numbers(metric: str, gold: Array, guesses: Array, labels: MetricLabels) -> Pool:
    # Of a rank correlation: the rows' ranks are taken for given, whatever weights the rows get.
    of = stats.rankdata if metric == "spearman" else np.asarray
    true, *given = (_standardised(of(values)) for values in (gold, *guesses.reshape(-1, len(gold))))
    groups = min(len(gold), MOST_GROUPS)
    member = np.random.default_rng(len(gold)).permutation(len(gold)) % groups
    sums = [_grouped(_moments(true, answers), member, groups) for answers in given]
    lost = _moments(np.full(2, LOST_DEVIATIONS), np.array([LOST_DEVIATIONS, 0.0]))
    return Pool(list(zip(sums[::2], sums[1::2], strict=True)), np.ones(groups), correlation, lost, lost[::-1])


def _standardised(values: Array) -> Array:
    # Correlations do not see it, and sums of squares do not cancel.
    values = values.astype(np.float64)
    return np.asarray((values - values.mean()) / values.std())


def _moments(gold: Array, guess: Array) -> Array:
    return np.stack([np.ones_like(gold), gold, guess, gold * gold, guess * guess, gold * guess], axis=-1)


def _grouped(rows: Array, member: Array, groups: int) -> Array:
    columns = [np.bincount(member, weights=column, minlength=groups) for column in rows.T]
    return np.stack(columns, axis=-1)


def correlation(sums: Array) -> Array:
    weight, gold, guess, gold_gold, guess_guess, gold_guess = np.moveaxis(sums, -1, 0)
    spread = (weight * gold_gold - gold**2) * (weight * guess_guess - guess**2)
    return np.asarray((weight * gold_guess - gold * guess) / np.sqrt(spread))


def _accuracy(sums: Array, labels: MetricLabels) -> Array:
    gold, right, _ = thirds(sums)
    return np.asarray(right.sum(axis=-1) / gold.sum(axis=-1))


def _f1(sums: Array, labels: MetricLabels) -> Array:
    gold, right, given = thirds(sums)
    if labels.positive is not None:
        gold, right, given = (each[..., labels.positive, None] for each in (gold, right, given))
    return np.asarray(ratio(2 * right, gold + given).mean(axis=-1))


def _matthews(sums: Array, labels: MetricLabels) -> Array:
    gold, right, given = thirds(sums)
    total = gold.sum(axis=-1)
    spread = _left(total, gold) * _left(total, given)
    return ratio(right.sum(axis=-1) * total - (gold * given).sum(axis=-1), np.sqrt(spread))


def _left(total: Array, parts: Array) -> Array:
    """Square of the total less the squares of its parts; 0, not rounding, where one part is all of it."""
    return np.where(parts.max(axis=-1) >= total * (1 - 1e-12), 0.0, total**2 - (parts**2).sum(axis=-1))


def _pool_rows(metric: str, gold: Array, guesses: Array, labels: MetricLabels) -> Pool:
    """Of rows that hardly ever repeat, each with its own sums."""
    counts = ROW_METRICS[metric]
    groups = min(len(gold), MOST_GROUPS)
    member = np.random.default_rng(len(gold)).permutation(len(gold)) % groups
    grouped = [[_grouped(counts.sums(gold, side), member, groups) for side in pair] for pair in guesses]
    cells = [(before, after) for before, after in grouped]
    lost = counts.lost(gold)
    return Pool(cells, np.ones(groups), counts.score, lost, lost[::-1])


@dataclass(frozen=True)
class RowMetric:
    """A metric of sums over rows. ``sums`` are ``(N, F)`` of gold and guess, ``score`` is of ``(..., F)``; ``lost``
    ``(2, F)`` is a row that the model before has right, and the one after has not.
    """

    sums: Callable[[Array, Array], Array]
    score: Callable[[Array], Array]
    lost: Callable[[Array], Array]


def _lost_label(gold: Array) -> Array:
    """A row of the rarest label, which is not given any more; where no row has it, all of its f1 is open."""
    row = np.zeros((1, gold.shape[1]), dtype=np.int64)
    row[0, int(gold.sum(axis=0).argmin())] = 1
    return np.concatenate([label_sums(row, row), label_sums(row, np.zeros_like(row))])


def _mean_of(sums: Array) -> Array:
    return np.asarray(sums[..., 1] / sums[..., 0])


def _valued(values: Array) -> Array:
    return np.stack([np.ones(len(values)), values], axis=-1)


def _entity_sums(gold: Array, guess: Array) -> Array:
    """``(N, 3)``: entities that there are, given, right."""
    return np.concatenate([gold[:, None], guess], axis=1).astype(np.float64)


_LOST_ENTITY = np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
_FALSE_ENTITY = np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
_LOST_MEAN = np.array([[1.0, 1.0], [1.0, 0.0]])

ROW_METRICS: dict[str, RowMetric] = {
    "micro_f1": RowMetric(label_sums, micro_f1, _lost_label),
    "macro_f1": RowMetric(label_sums, macro_f1, _lost_label),
    "exact_match": RowMetric(lambda gold, guess: _valued((gold == guess).all(axis=1)), _mean_of, lambda _: _LOST_MEAN),
    "entity_f1": RowMetric(
        _entity_sums, lambda sums: ratio(2 * sums[..., 2], sums[..., 0] + sums[..., 1]), lambda _: _LOST_ENTITY
    ),
    "entity_precision": RowMetric(
        _entity_sums, lambda sums: ratio(sums[..., 2], sums[..., 1]), lambda _: _FALSE_ENTITY
    ),
    "entity_recall": RowMetric(_entity_sums, lambda sums: ratio(sums[..., 2], sums[..., 0]), lambda _: _LOST_ENTITY),
    **dict.fromkeys(
        ("cosine", "neighbours"), RowMetric(lambda _, guess: _valued(guess), _mean_of, lambda _: _LOST_MEAN)
    ),
}

CLASS_METRICS: dict[str, Callable[..., Array]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "matthews_correlation": _matthews,
}

#: What a score's interval is worked out by. A percentile is no score: it is no sum over rows.
POOLS: dict[str, Callable[[str, Array, Array, MetricLabels], Pool]] = {
    **dict.fromkeys(CLASS_METRICS, _pool_labels),
    **dict.fromkeys(("pearson", "spearman"), _pool_numbers),
    **dict.fromkeys(ROW_METRICS, _pool_rows),
}
assert POOLS.keys() == {name for kind in TASK_KINDS.values() for name in kind.metrics} | {"neighbours"}
