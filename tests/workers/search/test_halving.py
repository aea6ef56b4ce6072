"""Who competes, and how the field is halved."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest

from api_schemas.architectures import ModelFacts
from api_schemas.pruning import PruneSpec
from api_schemas.reports import Candidate, Trial
from workers.search.candidates import candidates_of
from workers.search.distances import DISTANCES, clearly_less
from workers.search.halving import FIRST_RUNG, compete, rungs


def facts(layers: int, architecture: str = "bert") -> ModelFacts:
    return ModelFacts(id="m", architecture=architecture, layers=layers, hidden_size=8)


def auto(**prune: Any) -> PruneSpec:
    return PruneSpec.model_validate({"strategy": "auto", **prune})


IMPORTANCE: dict[str, Any] = {
    "weight_mean_abs": [0.0, *range(12, 1, -1)],
    "block_influence": [0.0, *range(12, 1, -1)],
    "removal_step": [float(step) for step in (13, 3, 1, 2, *range(4, 12))],
    "angular_distance": [[abs(high - low - 2) + low / 100 for high in range(13)] for low in range(13)],
}


def test_every_strategy_has_its_choice_and_a_choice_stands_once() -> None:
    found = {tuple(one.dropped): one.strategies for one in candidates_of(auto(), facts(12), 3, IMPORTANCE)}
    assert found[9, 10, 11] == ["top", "block_influence", "parameter_aggregate"]
    assert found[1, 2, 3] == ["angular", "greedy"]
    assert all(0 not in dropped for dropped in found), "protected, as in all strategies that look at the model"
    assert not {"random", "taylor", "contribution", "bottom", "all"}.intersection(*found.values())


def test_protected_layers_never_compete_and_rules_that_cannot_are_left_out() -> None:
    names = {
        name for one in candidates_of(auto(protect_layers=[11, 5]), facts(12), 3, IMPORTANCE) for name in one.strategies
    }
    assert "top" not in names
    assert "bottom" in names
    half = {name for one in candidates_of(auto(), facts(12), 7, IMPORTANCE) for name in one.strategies}
    assert "top" in half
    assert not {"alternate_odd", "alternate_even"} & half


def test_where_there_are_few_ways_all_compete() -> None:
    found = candidates_of(auto(), facts(6), 2, {})
    assert [tuple(one.dropped) for one in found] == list(itertools.combinations(range(1, 6), 2))
    assert [one.strategies for one in found if one.dropped == [1, 3]] == [["all"]]
    decoder = candidates_of(auto(), facts(6, "llama"), 2, {})
    assert all(not {0, 5} & set(one.dropped) for one in decoder)
    assert len(decoder) == 6


@pytest.mark.parametrize("budget", [0, 1, 10, 94, 1000])
@pytest.mark.parametrize("candidates", [1, 2, 3, 7, 8, 30])
def test_rungs_keep_to_the_budget_and_give_more_to_fewer(candidates: int, budget: int) -> None:
    made = rungs(candidates, budget)
    assert (made == []) == (candidates == 1)
    assert all(one.entrants > other.entrants for one, other in itertools.pairwise(made))
    assert all(one.steps <= other.steps for one, other in itertools.pairwise(made))
    assert all(1 < one.entrants <= FIRST_RUNG for one in made)
    # Where there is hardly a step for each, each takes one all the same.
    assert sum(one.entrants * one.steps for one in made) <= max(budget, sum(one.entrants for one in made) * 2)


def always(_one: Candidate, _other: Candidate) -> bool:
    return True


def field(count: int) -> list[Candidate]:
    return [Candidate(dropped=[layer], strategies=["all"]) for layer in range(count)]


def test_a_late_bloomer_wins_over_who_looks_best_untrained() -> None:
    """Layer 0 is worst before training and best after it; it must only be among the first rung's."""
    rounds: list[int] = []

    def attempt(one: Candidate, steps: int) -> Trial:
        layer = one.dropped[0]
        return Trial(steps=steps, distance=10.0 - layer if steps == 0 else float(layer), score=0.0)

    ranked = compete(field(FIRST_RUNG), 90, attempt, always, lambda: rounds.append(1))
    assert [one.dropped[0] for one in ranked] == list(range(FIRST_RUNG))
    assert [trial.steps for trial in ranked[0].trials] == [0, 5, 15]
    assert [len(one.trials) for one in ranked] == [3, 3, 3, 2, 2, 2, 2, 2]
    assert len(rounds) == 3


def test_more_than_the_first_rung_takes_are_cut_by_their_answers_before_training() -> None:
    trained: set[int] = set()

    def attempt(one: Candidate, steps: int) -> Trial:
        if steps:
            trained.add(one.dropped[0])
        return Trial(steps=steps, distance=float(one.dropped[0]), score=0.0)

    mixed = field(20)
    random.Random(1).shuffle(mixed)
    ranked = compete(mixed, 90, attempt, always, lambda: None)
    assert trained == set(range(FIRST_RUNG))
    assert [one.dropped[0] for one in ranked] == list(range(20))


def test_a_candidate_whose_training_diverged_goes_last_and_one_alone_wins_untrained() -> None:
    def attempt(one: Candidate, steps: int) -> Trial:
        broken = one.dropped == [0] and steps > 0
        return Trial(steps=steps, distance=None if broken else 1.0 + one.dropped[0], score=None)

    assert compete(field(3), 30, attempt, always, lambda: None)[-1].dropped == [0]
    assert [trial.steps for trial in compete(field(1), 30, attempt, always, lambda: None)[0].trials] == [0]


@pytest.mark.parametrize("clearly", [False, True])
def test_the_usual_choice_is_on_every_rung_and_wins_unless_another_is_clearly_nearer(clearly: bool) -> None:
    """What `top` drops is the farthest, untrained and trained, of more than the first rung takes."""
    candidates = [*field(20)[:-1], Candidate(dropped=[19], strategies=["top", "angular"])]

    def attempt(one: Candidate, steps: int) -> Trial:
        return Trial(steps=steps, distance=float(one.dropped[0]), score=0.0)

    compared: list[tuple[int, int]] = []

    def nearer(one: Candidate, other: Candidate) -> bool:
        compared.append((one.dropped[0], other.dropped[0]))
        return clearly

    ranked = compete(candidates, 90, attempt, nearer, lambda: None)
    found = {one.dropped[0]: [trial.steps for trial in one.trials] for one in ranked}
    assert compared == [(0, 19)]
    assert [one.dropped[0] for one in ranked][:3] == ([0, 1, 19] if clearly else [19, 0, 1])
    assert found[19] == found[0] == found[1] == [0, 5, 15], "it is out neither untrained nor after a few steps"


def test_the_usual_choice_does_not_stand_where_its_training_diverged() -> None:
    candidates = [*field(3), Candidate(dropped=[9], strategies=["top"])]

    def attempt(one: Candidate, steps: int) -> Trial:
        broken = one.dropped == [9] and steps > 0
        return Trial(steps=steps, distance=None if broken else 1.0 + one.dropped[0], score=None)

    ranked = compete(candidates, 30, attempt, lambda *_: False, lambda: None)
    assert [one.dropped for one in ranked] == [[0], [1], [2], [9]]


def test_distances_are_kl_of_classes_and_squares_of_numbers() -> None:
    ours, theirs = np.log([[0.5, 0.5], [0.9, 0.1]]), np.log([[0.25, 0.75], [0.9, 0.1]]) + 3
    expected = [0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75), 0.0]
    assert DISTANCES["classes"](ours, theirs) == pytest.approx(expected)
    numbers = DISTANCES["number"](np.array([[1.0], [2.0]]), np.array([[1.0], [4.0]]))
    assert numbers == pytest.approx([0.0, 4.0])


def test_clearly_less_is_two_standard_errors_of_the_rows_differences() -> None:
    """Rows differ by far more than the two do: compared each by itself they could not be told apart."""
    rows = np.array([1.0, 100.0, 10.0, 1000.0])
    less = rows - [1.0, 1.2, 0.8, 1.0]
    assert clearly_less(less, rows)
    assert not clearly_less(rows, less)
    # Mean 0.5, standard error 0.25 and a little more or less: at the bound.
    for spread, expected in ((0.43, True), (0.44, False)):
        assert clearly_less(rows - 0.5 - spread * np.array([1, -1, 1, -1]), rows) == expected
    assert not clearly_less(rows, rows)
    assert not clearly_less(np.array([0.0]), np.array([9.0])), "one row says nothing about chance"
