"""What a reader of the scores must know before believing them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from api_schemas.task_kinds import LabelForm
from workers.evaluation.by_seed import SIDES, Pair
from workers.evaluation.metrics import ALIKE, Array, MetricLabels

#: Fewer rows than that cannot show a loss of one percent, whatever the models answer.
FEW_ROWS = 200


def score_warnings(pair: Pair, labels: MetricLabels, form: LabelForm | None) -> Iterator[str]:
    """Of the headline split, by the models of one seed, before and after; ``form`` is of the task's labels."""
    gold = pair[1].gold
    if len(gold) < FEW_ROWS:
        yield f"the score is taken on {len(gold)} rows: under {FEW_ROWS}, small losses cannot be told from chance"
    if form == "class" and pair[0] is not None:
        yield from _as_good_as_the_majority(gold, pair[0].guess, labels)
    if form in ("classes", "tags") and pair[0] is not None and not pair[0].score:
        yield "the model before has not learnt the task: it gives no row a label that is right"
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
            f"the model before has not learnt the task: it is right in {accuracy:.1%} of the rows, and giving all of"
            f" them the label {labels.names[int(counts.argmax())]!r} would be in {share:.1%}"
        )
