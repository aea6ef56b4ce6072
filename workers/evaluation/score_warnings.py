"""What a reader of the scores must know before believing them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from api_schemas.task_kinds import LabelForm
from workers.evaluation.by_seed import SIDES, Pair
from workers.evaluation.label_sums import label_sums, micro_f1
from workers.evaluation.metrics import ALIKE, Array, MetricLabels

#: Fewer rows than that cannot show a loss of one percent, whatever the models answer.
FEW_ROWS = 200


def score_warnings(pair: Pair, labels: MetricLabels, form: LabelForm | None) -> Iterator[str]:
    """Of the headline split, by the models of one seed, before and after; ``form`` is of the task's labels."""
    gold = pair[1].gold
    if len(gold) < FEW_ROWS:
        yield f"the score is taken on {len(gold)} rows: under {FEW_ROWS}, small losses cannot be told from chance"
    if pair[0] is not None and form in _UNLEARNT:
        for what in _UNLEARNT[form](gold, pair[0].guess, labels):
            yield f"the model before has not learnt the task: {what}"
    if form in ("class", "number"):
        yield from _one_answer(pair, labels)


def _one_answer(pair: Pair, labels: MetricLabels) -> Iterator[str]:
    count = len(pair[1].gold)
    for side, scores in zip(SIDES, pair, strict=True):
        if scores is not None and count > 1 and np.ptp(scores.guess) <= ALIKE * np.abs(scores.guess).max():
            given = f"label {labels.names[int(scores.guess[0])]!r}" if labels.names else f"{float(scores.guess[0]):g}"
            yield f"the model {side} gives all {count} rows the same answer: {given}"


def _as_good_as_the_majority(gold: Array, guess: Array, labels: MetricLabels) -> Iterator[str]:
    counts = np.bincount(gold, minlength=len(labels.names))
    accuracy, share = float(np.mean(gold == guess)), float(counts.max() / len(gold))
    if accuracy <= share:
        yield (
            f"it is right in {accuracy:.1%} of the rows, and giving all of them the label"
            f" {labels.names[int(counts.argmax())]!r} would be in {share:.1%}"
        )


def _as_good_as_the_same_labels(gold: Array, guess: Array, labels: MetricLabels) -> Iterator[str]:
    """The best set of labels for all rows alike is that of the most frequent ones, for some number of these."""
    counts = gold.sum(axis=0)
    frequent = np.argsort(-counts, kind="stable")
    given = len(gold) * np.arange(1, len(counts) + 1)
    found = 2 * np.cumsum(counts[frequent]) / (counts.sum() + given)
    own, best = float(micro_f1(label_sums(gold, guess).sum(axis=0))), int(np.argmax(found))
    if own <= found[best]:
        named = ", ".join(repr(labels.names[at]) for at in frequent[: best + 1])
        yield f"its micro_f1 is {own:.1%}, and giving all rows the labels {named} would have {found[best]:.1%}"


def _mostly_wrong(gold: Array, guess: Array, labels: MetricLabels) -> Iterator[str]:
    there, (given, right) = int(gold.sum()), map(int, guess.sum(axis=0))
    if not right or 2 * right < min(there, given):
        yield f"of {there} entities it finds {right}, and gives {given} in all: most of both is wrong"


#: By the form of the labels: what shows that no more is in the answers than the labels alone would tell.
_UNLEARNT: Mapping[LabelForm | None, Callable[[Array, Array, MetricLabels], Iterator[str]]] = {
    "class": _as_good_as_the_majority,
    "classes": _as_good_as_the_same_labels,
    "tags": _mostly_wrong,
}
