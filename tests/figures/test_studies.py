"""The figures of a study say what its table says."""

from __future__ import annotations

import re
from xml.etree import ElementTree as Xml

import pytest

from api_schemas.studies.shown import StudyRow
from figures import MissingData
from figures.studies import pareto, score_by_layers
from tests.support.study_rows import published, row

SVG = "{http://www.w3.org/2000/svg}"
ROWS = [
    row(strategy, drop, 80 - 3.0 * drop, front=strategy == "top") for strategy in ("top", "bottom") for drop in (1, 2)
]


def words(svg: str) -> list[str]:
    return [element.text or "" for element in Xml.fromstring(svg).iter(f"{SVG}text")]


def of(rows: list[StudyRow], **changed: str) -> list[StudyRow]:
    return [one.model_copy(update=changed) for one in rows]


def test_score_by_layers_has_a_line_a_strategy_and_says_what_the_bars_are() -> None:
    drawing = score_by_layers(ROWS)
    shown = words(drawing.svg())
    assert {"top", "bottom", "full model", "layers kept"} <= set(shown)
    assert "published (same mark, open)" not in shown
    assert any("95 % interval of retention" in text for text in shown)
    assert "top, 2 dropped, 4 kept: 74.00" in drawing.alt


def test_without_an_interval_the_bars_are_deviations_and_without_either_there_are_none() -> None:
    by_std = [one.model_copy(update={"retention_interval": None}) for one in ROWS]
    assert any("± 1 std over the seeds" in text for text in words(score_by_layers(by_std).svg()))
    one_seed = [
        one.model_copy(update={"score_after": one.score_after.model_copy(update={"std": None})}) for one in by_std
    ]
    assert any("one seed, no interval" in text for text in words(score_by_layers(one_seed).svg()))


def test_published_numbers_are_open_marks_and_never_made_up() -> None:
    known = [*ROWS[:-1], ROWS[-1].model_copy(update={"published": published(70.0)})]
    assert "published (same mark, open)" in words(score_by_layers(known).svg())


def test_what_differs_is_in_the_legend() -> None:
    both = [*ROWS, *of(ROWS, recovery="distill")]
    assert {"top · finetune", "top · distill"} <= set(words(score_by_layers(both).svg()))


def test_several_models_and_tasks_are_panels_and_one_can_be_chosen() -> None:
    rows = [*ROWS, *of(ROWS, task="mrpc"), *of(ROWS, model="acme/other")]
    for draw in (score_by_layers, pareto):
        shown = words(draw(rows).svg())
        assert [text for text in shown if text in ("rte", "mrpc")] == ["rte", "mrpc", "rte"]
        assert "acme/other" not in shown
        assert "other" in shown
        assert any("mini · mrpc" in text for text in words(draw(rows, "acme/mini", "mrpc").svg()))


def test_of_more_than_twelve_panels_the_first_are_shown_and_it_says_so() -> None:
    rows = [one for number in range(14) for one in of(ROWS, task=f"task{number}")]
    shown = words(score_by_layers(rows).svg())
    assert len([text for text in shown if re.fullmatch(r"task\d+", text)]) == 12
    assert any("the first 12 of 14" in text for text in shown)


def test_pareto_is_by_latency_and_where_nothing_was_timed_by_size() -> None:
    assert "latency p50, ms" in words(pareto(ROWS).svg())
    drawing = pareto([one.model_copy(update={"latency_ms": None}) for one in ROWS])
    assert "parameters, millions" in words(drawing.svg())
    assert "top, 1 dropped, 5 kept: 77.00 at 20.2 M parameters" in drawing.alt


def test_the_front_is_named_and_the_rest_is_paler() -> None:
    svg = pareto(ROWS).svg()
    assert {"top −1", "top −2"} <= set(words(svg))
    assert "bottom −1" not in words(svg)
    assert 'opacity="0.35"' in svg


def test_names_of_the_front_do_not_cover_one_another() -> None:
    crowd = [row(f"strategy_{number}", 2, 70.0 + number / 50, front=True) for number in range(60)]
    texts = [text for text in Xml.fromstring(pareto(crowd).svg()).iter(f"{SVG}text") if "−2" in (text.text or "")]
    places = [(text.get("text-anchor"), float(text.get("y", "0"))) for text in texts]  # left or right of a point
    assert 0 < len(places) < 60
    assert all(a[0] != b[0] or abs(a[1] - b[1]) > 8 for a in places for b in places if a is not b)


def test_rows_that_have_no_score_yet_are_left_out() -> None:
    drawing = score_by_layers([*ROWS, row("symmetric", 1, None)])
    assert "symmetric" not in words(drawing.svg())


@pytest.mark.parametrize(
    ("rows", "asked", "said"),
    [
        ([], {}, "the study has no row"),
        (ROWS, {"model": "acme/none", "task": "rte"}, "the study has no row of model 'acme/none' and task 'rte'"),
        ([row("top", 1, None)], {}, "no cell of it has a score yet"),
    ],
)
def test_what_is_missing_is_said(rows: list[StudyRow], asked: dict[str, str], said: str) -> None:
    for draw in (score_by_layers, pareto):
        with pytest.raises(MissingData, match=said):
            draw(rows, **asked)


def test_two_thousand_rows_are_drawn_in_seconds() -> None:
    rows = [
        row(
            f"strategy{number}",
            drop,
            80.0 - drop - number / 10,
            layers_total=40,
            layers_kept=40 - drop,
            task=f"t{task}",
        )
        for number in range(10)
        for drop in range(1, 21)
        for task in range(10)
    ]
    assert score_by_layers(rows, "acme/mini", "t0").png()
