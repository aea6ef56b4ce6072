"""How far answers are from the teacher's: the definitions written out, and the same as in removals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from workers.pruning.removals import FAR
from workers.search.distances import DISTANCES, cosines

DRAW = np.random.default_rng(0)
OURS, THEIRS = (DRAW.normal(scale=3, size=(20, 4)).astype(np.float32) for _ in range(2))


def test_of_classes_it_is_the_divergence() -> None:
    ours, theirs = (np.exp(each.astype(float)) for each in (OURS, THEIRS))
    assert DISTANCES["classes"](OURS, THEIRS) == pytest.approx(stats.entropy(ours, theirs, axis=1))
    assert DISTANCES["classes"](OURS, OURS + 7) == pytest.approx(np.zeros(20), abs=1e-5)


def test_of_yes_and_no_it_is_the_sum_of_each_labels_divergence() -> None:
    ours, theirs = (1 / (1 + np.exp(-each.astype(float))) for each in (OURS, THEIRS))
    wanted = sum(
        stats.entropy(np.stack([p, 1 - p]), np.stack([q, 1 - q])) for p, q in zip(ours.T, theirs.T, strict=True)
    )
    assert DISTANCES["yes_or_no"](OURS, THEIRS) == pytest.approx(wanted)


def test_answers_that_are_sure_are_finitely_far() -> None:
    sure = np.array([[200.0, -200.0]], dtype=np.float32)
    for form in ("classes", "yes_or_no"):
        assert np.isfinite(DISTANCES[form](sure, -sure)).all()


def test_of_vectors_it_is_what_is_missing_of_the_cosine() -> None:
    assert DISTANCES["vector"](OURS, 3 * OURS) == pytest.approx(np.zeros(20))
    assert DISTANCES["vector"](OURS, -OURS) == pytest.approx(np.full(20, 2))
    east, north = np.array([[1.0, 0.0]]), np.array([[0.0, 2.0]])
    assert DISTANCES["vector"](east, north) == pytest.approx([1])
    assert cosines(np.zeros((1, 2)), north) == pytest.approx([0]), "a vector without length"


@pytest.mark.parametrize("form", DISTANCES)
def test_at_the_teachers_answers_it_is_0_and_nowhere_less(form: str) -> None:
    width = 1 if form == "number" else 4
    assert DISTANCES[form](OURS[:, :width], OURS[:, :width]) == pytest.approx(np.zeros(20), abs=1e-9)
    assert (DISTANCES[form](OURS[:, :width], THEIRS[:, :width]) >= 0).all()


@pytest.mark.parametrize("form", DISTANCES)
def test_a_search_and_a_removal_go_by_the_same(form: str) -> None:
    width = 1 if form == "number" else 4
    ours, theirs = OURS[:, :width], THEIRS[:, :width]
    removal = FAR[form](torch.from_numpy(ours).double(), torch.from_numpy(theirs).double())
    assert removal.numpy() == pytest.approx(DISTANCES[form](ours, theirs))
