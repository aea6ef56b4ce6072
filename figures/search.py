"""What `auto` found: how much of the score is kept at each size, and which size was taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api_schemas.reports import CurvePoint, Search
from figures.drawing import Drawing
from figures.missing import MissingData
from figures.parts import ROW, Sample, legend, legend_rows, line_sample, panel, rule_sample, sheet, whole_numbers
from figures.style import WIDTH, Inks, Look
from figures.words import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "search"
LINE = Look("c0", "o", "-")
DASH = (0, (5, 3))


def search_curve(search: Search | None, *, name: str = NAME) -> Drawing:
    """Scores of a search are of a slice of the training rows, and no promise for dev."""
    if search is None:
        raise MissingData("this job searched for nothing: only the strategy `auto` tries several sizes")
    points = sorted((point for point in search.curve if point.retention is not None), key=lambda point: point.drop)
    if not points:
        raise MissingData("no size of this search has a retention: it was chosen by speed alone, or has not begun")
    wanted = search.objective.min_retention
    title = "What the search found"
    told = "; ".join(f"{point.drop} dropped keep {number(100 * (point.retention or 0), 1)} %" for point in points[:24])
    chosen = "" if search.chosen is None else f" Chosen: {search.chosen} dropped."
    asked = "" if wanted is None else f" Asked for: {number(100 * wanted, 1)} %."

    def draw(inks: Inks) -> Figure:
        return _draw(inks, title, points, search.chosen, wanted)

    return Drawing(name, title, f"Of the score on held-out training rows, {told}.{chosen}{asked}", draw)


def _draw(inks: Inks, title: str, points: list[CurvePoint], chosen: int | None, wanted: float | None) -> Figure:
    entries = _entries(inks, points, chosen, wanted)
    foot = 366.0
    note = "on rows held out of the training split, after a short recovery: no promise for dev"
    figure, axes = sheet(foot + ROW * len(legend_rows([label for label, _ in entries])) + 14, inks, title, note)
    plot = panel(figure, inks, (64, 96, WIDTH - 24, 310), across="layers dropped", up="retention, %")
    xs, ys = [point.drop for point in points], [100 * (point.retention or 0) for point in points]
    plot.plot(xs, ys, color=inks["c0"], linewidth=1.5)
    for point, y in zip(points, ys, strict=True):
        face = inks["c0"] if point.front else inks["paper"]
        plot.plot([point.drop], [y], marker="o", color=inks["c0"], markerfacecolor=face, markersize=8)
        if point.drop == chosen:
            plot.plot(
                [point.drop],
                [y],
                marker="o",
                color=inks["c1"],
                markerfacecolor="none",
                markersize=17,
                markeredgewidth=2,
            )
    if wanted is not None:
        plot.axhline(100 * wanted, color=inks["muted"], linestyle=DASH, linewidth=1.5)
    plot.margins(x=0.06, y=0.16)
    whole_numbers(plot)
    legend(axes, foot, entries, inks)
    return figure


def _entries(
    inks: Inks, points: list[CurvePoint], chosen: int | None, wanted: float | None
) -> list[tuple[str, Sample]]:
    entries = [("on the front: none is smaller and better", line_sample(inks, LINE))]
    if not all(point.front for point in points):
        entries.append(("other sizes", line_sample(inks, LINE, hollow=True)))
    if any(point.drop == chosen for point in points):
        entries.append(("chosen", _ring(inks)))
    if wanted is not None:
        entries.append((f"asked for: {number(100 * wanted, 1)} %", rule_sample(inks["muted"], DASH)))
    return entries


def _ring(inks: Inks) -> Sample:
    def draw(axes: Axes, x: float, y: float) -> None:
        axes.plot([x + 13], [y], marker="o", color=inks["c1"], markerfacecolor="none", markersize=13, markeredgewidth=2)

    return draw
