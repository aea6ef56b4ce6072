"""The index arithmetic: the paper's own lists, what holds for every strategy, and every refusal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api_schemas.errors import LayercutError
from api_schemas.strategies import (
    MEASURES,
    STRATEGIES,
    Question,
    Strategy,
    check_count,
    select_explicit,
    select_layers,
    select_threshold,
)

# Sajjad et al. 2023, arXiv 2004.03844: 12 layers, counted from 0. Rows K=1, 3, 5, 7 are drawn in figure 1.
GOLDEN = {
    ("top", 2): [10, 11],
    ("top", 4): [8, 9, 10, 11],
    ("top", 6): [6, 7, 8, 9, 10, 11],
    ("bottom", 2): [0, 1],
    ("bottom", 4): [0, 1, 2, 3],
    ("bottom", 6): [0, 1, 2, 3, 4, 5],
    ("bottom", 7): [0, 1, 2, 3, 4, 5, 6],
    ("alternate_even", 2): [9, 11],
    ("alternate_even", 3): [7, 9, 11],
    ("alternate_even", 4): [5, 7, 9, 11],
    ("alternate_even", 5): [3, 5, 7, 9, 11],
    ("alternate_even", 6): [1, 3, 5, 7, 9, 11],
    ("alternate_odd", 2): [8, 10],
    ("alternate_odd", 4): [4, 6, 8, 10],
    ("alternate_odd", 5): [2, 4, 6, 8, 10],
    ("alternate_odd", 6): [0, 2, 4, 6, 8, 10],
    ("symmetric", 2): [5, 6],
    ("symmetric", 4): [4, 5, 6, 7],
    ("symmetric", 6): [3, 4, 5, 6, 7, 8],
}

# Twelve layers scored in no simple order; 3 and 7 are equal, 0 is protected.
SCORED = (0.01, 0.30, 0.90, 0.20, 0.80, 0.50, 0.70, 0.20, 0.60, 0.40, 0.95, 0.10)
LOWEST = {1: [11], 2: [7, 11], 3: [3, 7, 11], 5: [1, 3, 7, 9, 11]}
SCORED_GOLDEN = {
    "contribution": {1: [10], 2: [2, 10], 3: [2, 4, 10], 5: [2, 4, 6, 8, 10]},
    "block_influence": LOWEST,
    "taylor": LOWEST,
    "greedy": LOWEST,
    "parameter_aggregate": LOWEST,
    "parameter_variance": LOWEST,
    # The numbers are those of blocks, by their first layer: 0 is never one, and the last that fits is 12 - drop.
    "angular": {1: [11], 2: [7, 8], 3: [7, 8, 9], 5: [7, 8, 9, 10, 11]},
}

SIZES = (2, 3, 5, 6, 7, 12, 24)
COUNTED = [name for name, strategy in STRATEGIES.items() if strategy.kind not in ("explicit", "none")]


def question(total: int, drop: int, **given: object) -> Question:
    # Scores that rank the layers in no simple order.
    importance = tuple(float((layer * 7 + 3) % 11) for layer in range(total))
    return Question(total, drop, **{"importance": importance, "seed": 42} | given)


def limit(name: str, total: int) -> int:
    """The most layers that the strategy drops."""
    return total // 2 if name.startswith("alternate") else total - 1


@pytest.mark.parametrize(("name", "drop"), GOLDEN)
def test_the_papers_own_lists(name: str, drop: int) -> None:
    selection = select_layers(name, Question(12, drop))
    assert selection.dropped == GOLDEN[name, drop]
    assert selection.kept == [layer for layer in range(12) if layer not in GOLDEN[name, drop]]


def test_every_fixed_strategy_has_golden_lists() -> None:
    fixed = {name for name, row in STRATEGIES.items() if row.kind == "fixed"} - {"random"}
    assert fixed == {name for name, _ in GOLDEN}


@pytest.mark.parametrize("name", [name for name, row in STRATEGIES.items() if row.needs_importance])
def test_the_lists_of_ranked_strategies(name: str) -> None:
    for drop, dropped in SCORED_GOLDEN[name].items():
        asked = Question(12, drop, protected=frozenset({0}), importance=SCORED)
        assert select_layers(name, asked).dropped == dropped, drop


@pytest.mark.parametrize("total", SIZES)
@pytest.mark.parametrize("name", COUNTED)
def test_every_strategy_drops_as_many_as_asked(name: str, total: int) -> None:
    for drop in range(1, limit(name, total) + 1):
        selection = select_layers(name, question(total, drop))
        assert len(selection.dropped) == drop
        assert selection.dropped == sorted(set(selection.dropped))
        assert sorted(selection.dropped + selection.kept) == list(range(total))
        assert selection == select_layers(name, question(total, drop)), "the same question has the same answer"


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize("drop", [0, -1, 6, 7])
def test_at_least_one_layer_goes_and_one_stays(name: str, drop: int) -> None:
    with pytest.raises(LayercutError) as caught:
        select_layers(name, question(6, drop))
    assert caught.value.code == "invalid_layers"
    assert caught.value.param == "/prune/drop"
    assert "6 layers" in caught.value.message
    assert str(drop) in caught.value.message


@pytest.mark.parametrize("name", ["alternate_odd", "alternate_even"])
@pytest.mark.parametrize(("total", "half"), [(12, 6), (7, 3)])
def test_alternate_past_half_is_refused(name: str, total: int, half: int) -> None:
    assert len(select_layers(name, Question(total, half)).dropped) == half
    with pytest.raises(LayercutError, match=f"at most {half} of {total}, not {half + 1}") as caught:
        select_layers(name, Question(total, half + 1))
    assert (caught.value.code, caught.value.param) == ("invalid_layers", "/prune/drop")


@pytest.mark.parametrize(
    ("name", "total", "drop", "dropped"),
    [("alternate_odd", 7, 3, [2, 4, 6]), ("alternate_even", 7, 3, [1, 3, 5]), ("alternate_odd", 6, 1, [4])],
)
def test_alternate_starts_at_the_highest_layer_of_its_parity(
    name: str, total: int, drop: int, dropped: list[int]
) -> None:
    assert select_layers(name, Question(total, drop)).dropped == dropped


@pytest.mark.parametrize(("total", "drop", "kept"), [(6, 1, [0, 1, 2, 4, 5]), (6, 3, [0, 1, 5]), (7, 4, [0, 1, 6])])
def test_symmetric_with_an_odd_rest_keeps_the_extra_layer_at_the_bottom_and_warns(
    total: int, drop: int, kept: list[int]
) -> None:
    selection = select_layers("symmetric", Question(total, drop))
    assert selection.kept == kept
    assert any("odd number" in warning for warning in selection.warnings)
    assert not select_layers("symmetric", Question(12, 4)).warnings


def test_more_than_half_gone_warns() -> None:
    assert "7 of 12 layers go" in select_layers("top", Question(12, 7)).warnings[0]
    assert select_layers("top", Question(12, 6)).warnings == []


def test_random_follows_the_seed() -> None:
    drawn = {tuple(select_layers("random", Question(12, 4, seed=seed)).dropped) for seed in range(20)}
    assert len(drawn) > 10
    assert select_layers("random", Question(12, 4, seed=3)) == select_layers("random", Question(12, 4, seed=3))


@pytest.mark.parametrize("name", [name for name, row in STRATEGIES.items() if row.needs_importance])
def test_ranked_strategies_drop_from_the_end_that_they_say(name: str) -> None:
    importance = (0.9, 0.1, 0.5, 0.8, 0.2, 0.7)
    row = STRATEGIES[name]
    expected = [1, 2] if row.drops_block else {"highest": [0, 3], "lowest": [1, 4]}[row.drops or ""]
    assert select_layers(name, Question(6, 2, importance=importance)).dropped == expected


@pytest.mark.parametrize("name", [name for name, row in STRATEGIES.items() if row.needs_importance])
def test_of_equals_the_higher_layer_goes(name: str) -> None:
    assert select_layers(name, Question(6, 2, importance=(1.0,) * 6)).dropped == [4, 5]


FREE = [name for name in COUNTED if STRATEGIES[name].needs_importance or name == "random"]


@pytest.mark.parametrize("name", [name for name in FREE if not STRATEGIES[name].drops_block])
def test_protected_layers_stay(name: str) -> None:
    protected = frozenset({0, 3, 5})
    for drop in (1, 2, 3):
        assert not protected & set(select_layers(name, question(6, drop, protected=protected)).dropped)
    with pytest.raises(
        LayercutError, match=r"4 of 6 layers while \[0, 3, 5\] are protected: only 3 are free"
    ) as caught:
        select_layers(name, question(6, 4, protected=protected))
    assert (caught.value.code, caught.value.param) == ("invalid_layers", "/prune/protect_layers")


def test_a_fixed_list_that_hits_a_protected_layer_is_refused() -> None:
    with pytest.raises(LayercutError, match=r"\[11\] are protected, but this strategy drops \[10, 11\]") as caught:
        select_layers("top", Question(12, 2, protected=frozenset({11})))
    assert (caught.value.code, caught.value.param) == ("invalid_layers", "/prune/protect_layers")


# --- explicit lists


def test_explicit_drops_or_keeps_what_is_listed() -> None:
    assert select_explicit(6, drop=[4, 1], keep=None).dropped == [1, 4]
    assert select_explicit(6, drop=None, keep=[5, 0]).dropped == [1, 2, 3, 4]


@pytest.mark.parametrize("field", ["drop", "keep"])
@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([], "empty"),
        ([1, 1, 2, 2], r"\[1, 2\] are listed more than once"),
        ([-1, 2], r"\[-1\] do not exist: 6 layers are numbered 0 to 5"),
        ([2, 6, 9], r"\[6, 9\] do not exist"),
        ([0, 1, 2, 3, 4, 5], "at least one"),
    ],
)
def test_a_list_that_cannot_be_is_refused(field: str, layers: list[int], words: str) -> None:
    with pytest.raises(LayercutError, match=words) as caught:
        select_explicit(6, **{"drop": None, "keep": None, field: layers})
    assert (caught.value.code, caught.value.param) == ("invalid_layers", f"/prune/{field}_layers")


def test_explicit_without_a_list_is_told_what_it_takes() -> None:
    with pytest.raises(LayercutError, match="drop_layers or keep_layers"):
        select_layers("explicit", Question(6, 2))


# --- the threshold form

IMPORTANCE = (0.99, 0.5, 0.96, 0.7, 0.97, 0.9)


def test_a_threshold_drops_every_layer_above_it() -> None:
    assert select_threshold("contribution", Question(6, 0, importance=IMPORTANCE), 0.95).dropped == [0, 2, 4]
    assert select_threshold("contribution", Question(6, 0, frozenset({0}), IMPORTANCE), 0.95).dropped == [2, 4]
    assert select_threshold("contribution", Question(6, 0, importance=IMPORTANCE), 0.97).dropped == [0], "above, not at"


@pytest.mark.parametrize("protected", [frozenset(), frozenset({0})])
@pytest.mark.parametrize(("threshold", "words"), [(0.995, "no layer"), (-1.0, "every layer")])
def test_a_threshold_that_takes_nothing_or_everything_is_refused_with_the_importance(
    threshold: float, words: str, protected: frozenset[int]
) -> None:
    with pytest.raises(LayercutError, match=words) as caught:
        select_threshold("contribution", Question(6, 0, protected, IMPORTANCE), threshold)
    assert (caught.value.code, caught.value.param) == ("invalid_layers", "/prune/threshold")
    assert "1: 0.5000" in caught.value.message


def test_a_threshold_that_only_a_protected_layer_passes_is_refused() -> None:
    with pytest.raises(LayercutError, match="no layer that may go"):
        select_threshold("contribution", Question(6, 0, frozenset({0}), IMPORTANCE), 0.98)


# --- the table


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("topp", "top"), ("symetric", "symmetric"), ("alternate", "alternate_odd"), ("Contributions", "contribution")],
)
def test_an_unknown_name_is_answered_with_near_ones(wrong: str, near: str) -> None:
    with pytest.raises(LayercutError, match="did you mean") as caught:
        select_layers(wrong, Question(12, 2))
    assert (caught.value.code, caught.value.param) == ("unknown_strategy", "/prune/strategy")
    assert near in caught.value.message


def test_a_name_like_no_other_is_answered_with_all() -> None:
    with pytest.raises(LayercutError) as caught:
        STRATEGIES.find("zzz")
    assert all(name in caught.value.message for name in STRATEGIES)


def test_a_name_taken_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="'top' stands in the table twice"):
        STRATEGIES.add(STRATEGIES["top"])


@pytest.mark.parametrize("row", STRATEGIES.values(), ids=list(STRATEGIES))
def test_every_row_is_whole(row: Strategy) -> None:
    assert len(re.findall(r"\.( |$)", row.summary)) == 2, "what goes, and why: two sentences"
    assert row.when.endswith(".")
    assert row.measure is None or row.measure in MEASURES
    assert row.reference
    assert (row.kind in ("ranked", "measured")) == row.needs_importance == (row.drops is not None)
    assert not row.takes_threshold or row.needs_importance


def test_the_docs_say_what_the_table_says() -> None:
    page = " ".join((Path(__file__).parents[2] / "docs" / "strategies.md").read_text(encoding="utf-8").split())
    for name, row in STRATEGIES.items():
        text = f"### `{name}` {row.summary} *When:* {row.when} *Source:* {row.reference}."
        assert " ".join(text.split()) in page, name
    assert page.count("### `") == len(STRATEGIES)


def test_check_count_blames_the_field_that_it_is_told() -> None:
    check_count(2, 1)
    with pytest.raises(LayercutError) as caught:
        check_count(2, 2, "/prune/keep_layers")
    assert caught.value.param == "/prune/keep_layers"
