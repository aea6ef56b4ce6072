"""The figures of a job say what its report, plan and events say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as Xml

import pytest

from api_schemas.events import EVENT, Event, EventType, NewEvent
from api_schemas.objectives import Objective
from api_schemas.reports import CurvePoint, Search, StackMap
from figures import MissingData
from figures.curves import MOST_POINTS, labels_of
from figures.jobs import CurveData, before_and_after, curve_points, curves, layer_strip, search_curve, strip_of_report
from tests.support.events import say
from tests.support.reports import STRATEGY, report

SVG = "{http://www.w3.org/2000/svg}"


def words(svg: str) -> list[str]:
    return [element.text or "" for element in Xml.fromstring(svg).iter(f"{SVG}text")]


def boxes(svg: str) -> list[str]:
    """Fills of the cells."""
    return [path.get("fill", "") for path in Xml.fromstring(svg).iter(f"{SVG}path")]


@pytest.mark.parametrize("layers", [1, 6, 12, 24, 48, 96, 480])
def test_every_layer_has_its_cell(layers: int) -> None:
    drawing = layer_strip(layers, list(range(layers // 2, layers - 1)), [number / layers for number in range(layers)])
    shown = words(drawing.svg())
    assert {str(number) for number in range(layers)} <= set(shown)
    assert f"of {layers} layers stay" in shown[0]


def test_what_goes_is_hollow_and_dashed() -> None:
    svg = layer_strip(6, [4, 5]).svg()
    dashed = [path for path in Xml.fromstring(svg).iter(f"{SVG}path") if path.get("stroke-dasharray")]
    assert len(dashed) == 3  # two layers, and the legend
    assert all(path.get("fill") == "none" for path in dashed)


def test_importance_is_shade_and_its_ends_are_told() -> None:
    drawing = layer_strip(4, [1], [0.5, None, float("nan"), 0.9], measure="block_influence")
    assert "Importance (block_influence) from 0.5 to 0.9." in drawing.alt
    assert {"block influence: 0.5", "0.9"} <= set(words(drawing.svg()))


def test_stacks_are_counted_apart() -> None:
    stacks = {
        "encoder": StackMap(total=2, kept=[0, 1], dropped=[]), "decoder": StackMap(total=3, kept=[0, 2], dropped=[1]),
    }  # fmt: skip
    shown = words(layer_strip(5, [3], None, stacks).svg())
    assert shown.count("0") == shown.count("1") == 2
    assert {"encoder", "decoder"} <= set(shown)


def test_layers_that_are_not_chosen_yet_are_said_to_be_missing() -> None:
    with pytest.raises(MissingData, match="not known yet"):
        layer_strip(6, None)
    with pytest.raises(MissingData, match="at most 480"):
        layer_strip(1000, [1])


def test_a_block_measure_has_fewer_values_than_layers() -> None:
    measured = STRATEGY.model_copy(update={"importance": [0.1] * 9, "measure": "angular"})
    assert strip_of_report(report(strategy=measured)).png()


def test_before_and_after_have_the_numbers_of_the_report() -> None:
    drawing = before_and_after(report())
    shown = words(drawing.svg())
    assert {"109.5 M", "81.1 M", "438 MB", "324.5 MB", "92.43", "91.60", "100 ms", "67 ms"} <= set(shown)
    assert {"−25.9 %", "−0.83, keeps 99.1 %", "1.49× as fast"} <= set(shown)


def test_what_was_not_measured_has_no_bar() -> None:
    plain = report()
    sides = {
        name: getattr(plain, name).model_copy(update={"score": None, "latency": []}) for name in ("before", "after")
    }
    shown = words(before_and_after(report(**sides, retention=None)).svg())
    assert not {"score", "latency p50"} & set(shown)
    same = report(layers=plain.layers.model_copy(update={"dropped": []}), after=plain.before)
    with pytest.raises(MissingData, match="the same model"):
        before_and_after(same)


def progress(step: int, loss: float | None) -> NewEvent:
    return say(EventType.PROGRESS, fraction=0.1, step=step, total_steps=100, epoch=0.1, loss=loss)


def stage(name: str, **more: Any) -> NewEvent:
    return say(EventType.STAGE, stage=name, **more)


def numbered(events: list[NewEvent], attempt: int, first: int = 1) -> list[Event]:
    made = {"job_id": "job_x", "attempt": attempt, "created_at": datetime(2026, 1, 1, tzinfo=UTC)}
    return [
        EVENT.validate_python({**event.model_dump(), **made, "number": first + at}) for at, event in enumerate(events)
    ]


def steps(found: CurveData) -> list[tuple[str, list[list[int]]]]:
    kept = [[[point.step for point in piece] for piece in line.pieces] for line in found.lines]
    return list(zip(labels_of(found.lines), kept, strict=True))


def test_trainings_are_lines_and_scores_are_of_their_side() -> None:
    found = curve_points([
        stage("baseline"), progress(1, 0.9), progress(2, 0.8), progress(3, None), stage("scoring", skipped=True),
        progress(9, 0.1), stage("recovering", seed=42), progress(1, 0.5), stage("baseline", seed=7), progress(1, 0.7),
        say(EventType.METRIC, name="f1", value=90.0, side="before"), say(EventType.METRIC, name="f1", value=None,
        side="after"), say(EventType.METRIC, name="f1", value=10.0, side="after", of="spam"),
    ])  # fmt: skip
    assert steps(found) == [("baseline", [[1, 2]]), ("recovering, seed 42", [[1]]), ("baseline, seed 7", [[1]])]
    assert [(score.name, score.side, score.value) for score in found.scores] == [("f1", "before", 90.0)]


def test_a_lost_attempt_leaves_a_gap_and_what_is_done_again_counts_once() -> None:
    lost = numbered([stage("recovering"), *(progress(step, 1 / step) for step in (1, 2, 3, 4))], attempt=1)
    again = numbered([stage("recovering"), *(progress(step, 0.5) for step in (3, 4, 5))], attempt=2, first=6)
    found = curve_points([*lost, *again])
    assert steps(found) == [("recovering", [[1, 2], [3, 4, 5]])]
    assert "with 1 gap where attempts were lost" in curves(found).alt
    resumed = numbered([stage("recovering"), progress(7, 0.4)], attempt=2, first=6)
    assert steps(curve_points([*lost, *resumed])) == [("recovering", [[1, 2, 3, 4], [7]])]


def test_a_training_of_many_steps_keeps_what_can_be_seen() -> None:
    found = curve_points([stage("recovering"), *(progress(step, 1 / step) for step in range(1, 20_001))])
    (piece,) = found.lines[0].pieces
    assert (piece[0].step, piece[-1].step) == (1, 20_000)
    assert MOST_POINTS / 2 < len(piece) <= 2 * MOST_POINTS + 1
    assert [point.step for point in piece] == sorted({point.step for point in piece})
    assert len(curves(found).svg()) < 60_000


def test_without_a_training_there_is_no_curve() -> None:
    with pytest.raises(MissingData, match="no training has told a loss"):
        curves(curve_points([stage("pruning")]))


def test_the_search_shows_what_was_asked_and_what_was_taken() -> None:
    curve = [
        CurvePoint(drop=drop, kept=None, dropped=None, retention=kept, parameters=1, bytes=1, front=True)
        for drop, kept in ((1, 0.99), (2, 0.97), (3, None))
    ]
    search = Search(
        objective=Objective(min_retention=0.98), chosen=1, curve=curve, front=[1], brackets=[], steps=1, spent_steps=0
    )
    drawing = search_curve(search)
    assert "1 dropped keep 99 %; 2 dropped keep 97 %. Chosen: 1 dropped. Asked for: 98 %." in drawing.alt
    assert {"chosen", "asked for: 98 %"} <= set(words(drawing.svg()))
    with pytest.raises(MissingData, match="only the strategy `auto`"):
        search_curve(None)
    with pytest.raises(MissingData, match="no size of this search has a retention"):
        search_curve(search.model_copy(update={"curve": curve[2:]}))
