"""A tag for each word; a word's first token answers for it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from seqeval.metrics.sequence_labeling import get_entities
from torch import Tensor
from transformers import PreTrainedModel

from api_schemas.recovery import Recovery
from workers.data.batches import Inputs
from workers.data.features import NO_TAG, Features
from workers.kinds.classification import soft_cross_entropy
from workers.kinds.kind import Answer, Array, Kind
from workers.runtime.loading import Head
from workers.search.distances import divergences

OUTSIDE = "O"


class TokenClassification(Kind):
    form = "classes"

    @property
    def head(self) -> Head:
        return Head(self.row.auto_class, self.labels, None)

    def answer(self, model: PreTrainedModel, inputs: Inputs, *, hidden: bool = False) -> Answer:
        output = model(**inputs, output_hidden_states=hidden)
        values = output.logits[inputs["attention_mask"].bool()]
        return Answer(values.float(), output.hidden_states if hidden else ())

    def label_loss(self, values: Tensor, gold: Tensor) -> Tensor:
        return F.cross_entropy(values, gold)

    def teacher_loss(self, values: Tensor, aim: Tensor, recovery: Recovery) -> Tensor:
        return soft_cross_entropy(values, aim, recovery.temperature)

    def answered(self, gold: Tensor) -> Tensor | None:
        return gold != NO_TAG

    def known(self, gold: Tensor) -> Tensor:
        return gold >= 0

    def judged(self, metric: str, answers: Array, features: Features, reference: Array | None) -> tuple[Array, Array]:
        """Entities of each row: how many there are ``(N,)``; and how many are given, and are right, ``(N, 2)``.

        An entity is right where type, first and last word are. Words that no token stands for are in none that is
        given: what they are of was missed.
        """
        gold, guess = self._tags(features.labels, features, lost=True), self._tags(answers.argmax(axis=1), features)
        counts = [(len(true), len(given), len(true & given)) for true, given in zip(gold, guess, strict=True)]
        found = np.array(counts, dtype=np.int64).reshape(-1, 3)
        return found[:, 0], found[:, 1:]

    def _tags(self, ids: Array, features: Features, lost: bool = False) -> list[set[tuple[str, int, int]]]:
        """The entities of each row; ``lost``: with the tags of the words that were lost, which else are of none."""
        names, answered = np.array([*self.labels, OUTSIDE]), features.labels != NO_TAG
        rows = zip(features.offsets[:-1], features.offsets[1:], strict=True)
        tags = [ids[start:end][answered[start:end]] for start, end in rows]
        if len(features.lost):
            tags = [_whole(row, features.lost_of(at), lost) for at, row in enumerate(tags)]
        return [set(get_entities(names[row].tolist())) for row in tags]

    def distances(self, reference: Array, answers: Array, features: Features) -> npt.NDArray[np.float64]:
        """The mean over a row's words."""
        answered = features.labels != NO_TAG
        row = np.repeat(np.arange(len(features)), features.lengths)[answered]
        far = divergences(reference[answered], answers[answered])
        words = np.bincount(row, minlength=len(features))
        return np.bincount(row, weights=far, minlength=len(features)) / np.maximum(words, 1)


def _whole(tags: Array, lost: Array, known: bool) -> Array:
    """The ``tags`` of a row's words, with those of the lost ones, ``(K, 2)``, at their places."""
    found = np.full(len(tags) + len(lost), -1, dtype=np.int64)
    read = np.ones(len(found), dtype=bool)
    read[lost[:, 0]] = False
    found[read] = tags
    if known:
        found[lost[:, 0]] = lost[:, 1]
    return found


KIND = TokenClassification
