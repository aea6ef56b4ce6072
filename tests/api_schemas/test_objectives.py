"""What `auto` may be asked, and which size it takes of what its brackets found."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from api_schemas.architectures import ModelFacts
from api_schemas.curves import choose, objective_of, search_of, searched_plan, sizes_of
from api_schemas.errors import LayercutError
from api_schemas.objectives import Objective
from api_schemas.plans import make_plan
from api_schemas.pruning import PruneSpec
from api_schemas.reports import Bracket, Candidate, Latency, Measurements, Trial
from api_schemas.requests import JobRequest
from api_schemas.search import LATENCY_HEADROOM, Unknown, largest_fitting, most_asked, shortfall

FACTS = ModelFacts.model_validate(
    {"id": "m", "architecture": "bert", "layers": 6, "hidden_size": 8, "parameters": 1600,
     "parameters_per_layer": [200] * 6, "bytes": 6400}
)  # fmt: skip


def spec(**prune: Any) -> PruneSpec:
    return PruneSpec.model_validate({"strategy": "auto", **prune})


def bracket(drop: int, score: float | None, whole: float = 80.0) -> Bracket:
    """The highest layers win, and the next below them come second."""
    best = Candidate(
        dropped=list(range(6 - drop, 6)), strategies=["top"], trials=[Trial(steps=9, distance=1, score=score)]
    )
    other = Candidate(
        dropped=list(range(5 - drop, 5)), strategies=["all"], trials=[Trial(steps=3, distance=2, score=1.0)]
    )
    return Bracket(drop=drop, rows=10, baseline_score=whole, candidates=[best, other], steps=12)


def timed(ms: float, rows: int = 1, tokens: int = 128) -> Latency:
    return Latency(batch_size=rows, sequence_length=tokens, p50_ms=ms, p95_ms=ms, runs=5, examples_per_second=1000 / ms)


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        ({}, "not none"),
        ({"batch_size": 4}, "not none"),
        ({"drop": 2, "min_retention": 0.9}, "drop and min_retention at once"),
        ({"max_params": 100, "max_latency_ms": 5}, "max_params and max_latency_ms at once"),
        ({"min_retention": 0.9, "batch_size": 4}, "batch_size is for max_latency_ms"),
    ],
)
def test_an_objective_is_one_goal(objective: dict[str, Any], words: str) -> None:
    with pytest.raises(LayercutError, match=words) as caught:
        spec(objective=objective)
    assert caught.value.param in ("/prune/objective", "/prune/objective/batch_size")


@pytest.mark.parametrize(
    "objective",
    [
        {"min_retention": 0}, {"min_retention": 1.01}, {"min_retention": 101}, {"min_retention": -0.5},
        {"min_retention": float("nan")}, {"max_params": 0}, {"max_params": -5}, {"max_latency_ms": 0},
        {"max_latency_ms": float("inf")}, {"max_latency_ms": 5, "batch_size": 0}, {"min_score": 90},
    ],
)  # fmt: skip
def test_an_objective_out_of_range_is_refused(objective: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="objective"):
        spec(objective=objective)


@pytest.mark.parametrize(
    ("prune", "param", "words"),
    [
        ({"drop": 2, "objective": {"min_retention": 0.9}}, "/prune", "not 2 at once"),
        ({"strategy": "top", "objective": {"drop": 2}}, "/prune/objective", "takes no objective; auto does"),
        ({"objective": {"drop": 0}}, "/prune/drop", "at least one"),
        ({"objective": {"drop": 6}}, "/prune/drop", "at most 5"),
        ({"objective": {"max_params": 1600}}, "/prune/objective/max_params", "1600 parameters already"),
        ({"objective": {"max_params": 599}}, "/prune/objective/max_params", "one layer alone leaves 600"),
        ({"objective": {"max_params": 700}, "protect_layers": [0, 1]}, "/prune/protect_layers", "only 4 are free"),
        ({"drop": 4, "protect_layers": [0, 1, 2]}, "/prune/protect_layers", "only 3 are free"),
        (
            {"objective": {"min_retention": 0.9}, "protect_layers": [0, 1, 2, 3, 4, 5]},
            "/prune/protect_layers", "only 0 are free",
        ),
        ({"calibration": {"dataset": "/x.txt"}}, "/prune/calibration/dataset", "the task's rows"),
    ],
)  # fmt: skip
def test_what_auto_cannot_do_is_refused_with_the_field(prune: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(LayercutError) as caught:
        make_plan(spec(**prune), FACTS, seed=1)
    assert caught.value.param == param
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"task": "none"}, "/prune/strategy"),
        ({"recovery": {"method": "finetune"}}, "/recovery/method"),
        ({"recovery": {"method": "none"}}, "/recovery/method"),
    ],
)
def test_auto_needs_a_task_to_distil(more: dict[str, Any], param: str) -> None:
    with pytest.raises(LayercutError) as caught:
        JobRequest.model_validate({"model": "m", "task": "rte", "prune": {"strategy": "auto"}, **more})
    assert caught.value.param == param


def test_before_the_search_nothing_is_known_but_that_it_can_be() -> None:
    plan = make_plan(spec(), FACTS, seed=1)
    assert plan.dropped is plan.search is plan.parameters_after is None
    assert plan.protected == [0]
    assert "a search" in plan.warnings[0]


def test_the_sizes_that_compete() -> None:
    assert sizes_of(spec(), FACTS) == [2]
    assert sizes_of(spec(drop=3), FACTS) == sizes_of(spec(objective={"drop": 3}), FACTS) == [3]
    assert sizes_of(spec(objective={"max_params": 1399}), FACTS) == [2]
    assert sizes_of(spec(objective={"min_retention": 0.9}), FACTS) == [1, 2, 3, 4, 5]
    assert sizes_of(spec(objective={"max_latency_ms": 9}, protect_layers=[0, 5]), FACTS) == [1, 2, 3, 4]
    assert sizes_of(spec(objective={"max_latency_ms": 9}, protect_layers=[]), FACTS) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("count", [1, 2, 5, 11, 31])
def test_the_largest_fitting_size_is_found_in_few_questions(count: int) -> None:
    sizes = list(range(1, count + 1))
    for limit in range(count + 1):
        asked: list[int] = []

        def fits(size: int, limit: int = limit, asked: list[int] = asked) -> bool:
            asked.append(size)
            return size <= limit

        assert largest_fitting(sizes, fits) == (limit or None)
        assert len(asked) <= most_asked(count)


def test_retention_takes_the_largest_size_that_keeps_it_and_else_the_smallest() -> None:
    scores = {1: 80.0, 2: 79.0, 3: 76.0, 4: 60.0, 5: 20.0}
    sizes = [1, 2, 3, 4, 5]

    def run_bracket(drop: int) -> Bracket:
        return bracket(drop, scores[drop])

    assert choose(Objective(min_retention=0.95), sizes, run_bracket, {}) == 3
    assert choose(Objective(min_retention=0.951), sizes, run_bracket, {}) == 2
    assert choose(Objective(min_retention=1.0), sizes, run_bracket, {}) == 1
    scores[1] = 70.0
    assert choose(Objective(min_retention=1.0), sizes, run_bracket, {}) == 1
    assert choose(Objective(min_retention=0.1), sizes, lambda drop: bracket(drop, 50, whole=0.0), {}) == 1


def test_latency_takes_the_smallest_size_that_is_fast_with_room_for_noise_and_else_the_fastest() -> None:
    times = {drop: timed(12.0 - 2 * drop) for drop in (1, 2, 3, 4, 5)}

    def run_bracket(drop: int) -> Bracket:
        raise AssertionError("no bracket decides here")

    assert choose(Objective(max_latency_ms=8 / LATENCY_HEADROOM), list(times), run_bracket, times) == 2
    assert choose(Objective(max_latency_ms=8.0), list(times), run_bracket, times) == 3
    assert choose(Objective(max_latency_ms=1.0), list(times), run_bracket, times) == 5
    with pytest.raises(Unknown):
        choose(Objective(max_latency_ms=1.0), list(times), run_bracket, {})


def test_the_curve_has_every_size_its_best_and_the_front() -> None:
    brackets = {1: bracket(1, 78.0), 2: bracket(2, 79.0), 3: bracket(3, 60.0), 4: bracket(4, 81.0)}
    asked = spec(objective={"min_retention": 0.9})
    search = search_of(asked, FACTS, brackets, {5: timed(3.0)}, chosen=4)
    assert [point.drop for point in search.curve] == [1, 2, 3, 4, 5]
    assert search.front == [4], "smaller and better than all others, the whole model too"
    two, five = search.curve[1], search.curve[4]
    assert (two.kept, two.dropped, two.strategies, two.steps) == ([0, 1, 2, 3], [4, 5], ["top"], 9)
    assert (two.parameters, two.bytes, two.retention) == (1200, 4800, 79 / 80)
    assert (five.kept, five.parameters, five.front) == (None, 600, False)
    assert five.latency is not None
    assert search.steps == 48
    brackets.pop(4)
    assert search_of(asked, FACTS, brackets, {}, chosen=2).front == [2, 3], "one layer less is worse than two"
    plan = searched_plan(asked, FACTS, search)
    assert (plan.strategy, plan.dropped, plan.protected, plan.search) == ("auto", [2, 3, 4, 5], [0], search)


def test_the_objective_is_told_with_nothing_left_open() -> None:
    decided = spec(objective={"max_latency_ms": 5}).decided.objective
    assert decided is not None
    assert (decided.batch_size, decided.sequence_length) == (1, 128)
    assert objective_of(spec(drop_ratio=0.5), FACTS) == Objective(drop=3)


SIDE = Measurements(parameters=1000, bytes=4000, latency=[timed(10.0), timed(90.0, rows=32), timed(20.0, tokens=256)])


@pytest.mark.parametrize(
    ("objective", "retention", "words"),
    [
        ({"drop": 2}, None, None),
        ({"min_retention": 0.98}, 0.98, None),
        ({"min_retention": 0.98}, 0.97, "keeps 97.00%"),
        ({"min_retention": 0.98}, None, "no score"),
        ({"max_params": 1000}, 0.1, None),
        ({"max_params": 999}, 0.1, "1000 parameters"),
        ({"max_latency_ms": 10}, 0.1, None),
        ({"max_latency_ms": 9.9}, 0.1, "took 10.00 ms"),
        ({"max_latency_ms": 89, "batch_size": 32}, 0.1, "took 90.00 ms"),
        ({"max_latency_ms": 20, "sequence_length": 256}, 0.1, None),
        ({"max_latency_ms": 20, "sequence_length": 512}, 0.1, None),
        ({"max_latency_ms": 20, "batch_size": 3}, 0.1, "not measured"),
    ],
)
def test_an_objective_is_judged_by_the_figures_of_the_report(
    objective: dict[str, Any], retention: float | None, words: str | None
) -> None:
    found = shortfall(Objective.model_validate(objective), SIDE, retention)
    assert found is None if words is None else words in (found or "")
