"""One way to write a label, and when the order of a head is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from api_schemas.labels import head_order, label_key, label_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("pos", "pos"),
        ("  so  so\n", "so so"),
        (1, "1"),
        (1.0, "1"),
        ("1.0", "1"),
        ("+1", "1"),
        ("-0", "0"),
        ("007", "007"),
        ("0.50", "0.50"),
        (True, "true"),
        ("Été", "Été"),
        *[(none, None) for none in ("", " ", None, [1], float("nan"), float("inf"), "NaN", "-Infinity", "\ud800")],
    ],
)
def test_a_label_is_written_one_way(value: Any, text: str | None) -> None:
    assert label_text(value) == text


def test_labels_that_differ_in_case_or_blanks_alone_are_one() -> None:
    assert label_key("Not  Spam ".strip()) == label_key("not spam")
    assert label_key("spam") != label_key("spam!")


@pytest.mark.parametrize(
    ("words", "names", "meant", "order"),
    [
        (["neg", "pos"], ["neg", "pos"], None, [0, 1]),
        (["POS", "Neg"], ["neg", "pos"], None, [1, 0]),
        (["not-entailment", "ENTAILMENT"], ["entailment", "not_entailment"], None, [1, 0]),
        (["LABEL_0", "LABEL_1"], ["0", "1"], None, [0, 1]),
        (["1", "0"], ["0", "1"], None, [1, 0]),
        (["LABEL_0", "LABEL_1"], ["neg", "pos"], None, None),
        (["0", "1"], ["neg", "pos"], None, None),
        (["LABEL_1", "LABEL_0"], ["0", "1"], None, None),
        (["LABEL_0", "LABEL_1"], ["1", "2"], None, None),
        (["POSITIVE", "NEGATIVE"], ["neg", "pos"], None, None),
        (["POSITIVE", "NEGATIVE"], ["neg", "pos"], {"positive": "pos", "negative": "NEG"}, [1, 0]),
        (["POSITIVE", "NEGATIVE"], ["neg", "pos"], {"POSITIVE": "pos", "OTHER": "neg"}, None),
        (["POSITIVE", "NEGATIVE"], ["pos", "neg"], ["pos", "neg"], [0, 1]),
        (["a", "b", "c"], ["a", "b"], None, None),
        (None, ["a", "b"], ["a", "b"], None),
    ],
)
def test_the_order_of_a_head_is_known_or_it_is_not(
    words: Sequence[str] | None, names: Sequence[str], meant: Sequence[str] | Mapping[str, str] | None, order: Any
) -> None:
    assert head_order(words, names, meant, numbered=False) == order


def test_labels_that_everyone_numbers_alike_need_no_names() -> None:
    names = ["negative", "positive"]
    assert head_order(["LABEL_0", "LABEL_1"], names, None, numbered=True) == [0, 1]
    assert head_order(["0", "1"], names, None, numbered=True) == [0, 1]
    assert head_order(["bad", "good"], names, None, numbered=True) is None
