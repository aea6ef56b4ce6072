"""The share of neighbours that two models have in common, against all pairs sorted."""

from __future__ import annotations

import numpy as np
import pytest

from workers.search import neighbours
from workers.search.neighbours import NEIGHBOURS, shared_neighbours


def vectors(count: int, width: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def by_sorting(one: np.ndarray, other: np.ndarray) -> list[float]:
    found = []
    for row in range(len(one)):
        nearest = []
        for side in (one.astype(np.float64), other.astype(np.float64)):
            cosines = side @ side[row] / np.linalg.norm(side, axis=1)
            order = [at for at in np.argsort(-cosines) if at != row]
            nearest.append(set(order[:NEIGHBOURS]))
        found.append(len(nearest[0] & nearest[1]) / NEIGHBOURS)
    return found


@pytest.mark.parametrize("block", [1, 7, 1024])
def test_it_is_what_sorting_all_pairs_finds(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_ROWS", block)
    one = vectors(60)
    other = np.concatenate([one + 0.5 * vectors(60, seed=1), vectors(60, 3, seed=2)], axis=1)
    assert shared_neighbours(one, other) == pytest.approx(by_sorting(one, other))


def test_a_vector_that_is_not_finite_has_no_neighbours_to_share() -> None:
    one, other = vectors(30), vectors(30)
    other[3, 2], one[7, 0] = np.nan, np.inf
    found = shared_neighbours(one, other)
    assert np.flatnonzero(np.isnan(found)).tolist() == [3, 7]


def test_neither_lengths_nor_turns_change_a_neighbour() -> None:
    one = vectors(50)
    turn = np.linalg.qr(vectors(8, seed=3))[0]
    lengths = np.random.default_rng(4).uniform(0.1, 9, (50, 1)).astype(np.float32)
    assert (shared_neighbours(one, lengths * (one @ turn)) == 1).all()


def test_strangers_share_as_many_as_chance() -> None:
    shares = shared_neighbours(vectors(1000, 32), vectors(1000, 32, seed=9))
    assert shares.mean() == pytest.approx(NEIGHBOURS / 999, abs=0.005)


@pytest.mark.parametrize("count", [1, 2, NEIGHBOURS + 1])
def test_of_few_texts_all_others_are_near(count: int) -> None:
    assert (shared_neighbours(vectors(count), vectors(count, seed=5)) == 1).all()
    assert len(shared_neighbours(vectors(count), vectors(count))) == count


def test_of_many_texts_the_first_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MOST_TEXTS", 30)
    one, other = vectors(50), vectors(50, seed=6)
    assert np.array_equal(shared_neighbours(one, other), shared_neighbours(one[:30], other[:30]))


def test_a_vector_without_length_is_no_error() -> None:
    one = vectors(20)
    one[3] = 0
    assert np.isfinite(shared_neighbours(one, vectors(20, seed=7))).all()
