"""The figures of a study, from the rows of its table: score by size, and the front of speed and score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api_schemas.studies.shown import StudyRow
from figures.drawing import Drawing
from figures.missing import MissingData
from figures.parts import ROW, Sample, legend, legend_rows, line_sample, panel, rule_sample, say, sheet, whole_numbers
from figures.study_rows import MOST_PANELS, Panel, key_of, named, panels_of, series_of, spread_note, spread_of
from figures.style import SMALL, TEXT, WIDTH, Inks, Look, look
from figures.svg import Link
from figures.words import millions, number, plain, width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCORE, PARETO = "score_by_layers", "pareto"
NAMES = (SCORE, PARETO)
RULE = (0, (4, 3))

LinkOf = Callable[[StudyRow], str | None]


@dataclass(frozen=True)
class _Page:
    """What one figure is of: panels that have points, each row's series, and what a point is called in the SVG."""

    title: str
    note: str
    panels: list[Panel]
    series: dict[tuple[str, str, str], str]
    marks: dict[int, str]
    links: dict[str, Link]

    def look(self, row: StudyRow) -> Look:
        return look(list(self.series).index(key_of(row)))

    def mark(self, row: StudyRow) -> str | None:
        return self.marks.get(id(row))


def score_by_layers(
    rows: Sequence[StudyRow], model: str | None = None, task: str | None = None, *,
    link: LinkOf | None = None, name: str = SCORE,
) -> Drawing:  # fmt: skip
    """Score against layers kept. Without ``model`` and ``task``, a panel for each."""
    panels = _with(rows, model, task, lambda row: row.score_after is not None and row.layers_kept is not None, "score")
    page = _page("Score by layers kept", spread_note([row for one in panels for row in one.rows]), panels, link)
    told = [
        f"{one.title}: " + "; ".join(_scored(row) for row in sorted(one.rows, key=lambda row: -(row.layers_kept or 0)))
        for one in page.panels
    ]  # fmt: skip

    def draw(inks: Inks) -> Figure:
        return _draw(inks, page, _score_panel, across="layers kept", entries=_score_entries(inks, page))

    return Drawing(name, page.title, plain(". ".join(told), 1500) + ".", draw, page.links)


def pareto(
    rows: Sequence[StudyRow], model: str | None = None, task: str | None = None, *,
    link: LinkOf | None = None, name: str = PARETO,
) -> Drawing:  # fmt: skip
    """Score against latency, or against parameters where some row was not timed."""
    scored = _with(rows, model, task, lambda row: row.score_after is not None, "score")
    timed = all(any(row.latency_ms for row in one.rows) for one in scored)
    what = "latency" if timed else "parameters"
    panels = _with(rows, model, task, lambda row: row.score_after is not None and _cost(row, timed) is not None, what)
    note = "the line joins what nothing beats in both; other points are paler"
    page = _page(f"Score against {what}", note, panels, link)
    told = [
        f"{one.title}, on the front: "
        + ("; ".join(f"{_scored(row)} at {_costs(row, timed)}" for row in one.rows if row.front) or "none yet")
        for one in page.panels
    ]

    def one(plot: Axes, inks: Inks, page: _Page, found: Panel) -> None:
        _pareto_panel(plot, inks, page, found, timed)

    def draw(inks: Inks) -> Figure:
        def label(plot: Axes, found: Panel) -> None:
            _label(plot, inks, found, _front(found, timed), timed)

        across = "latency p50, ms" if timed else "parameters, millions"
        entries = [(label, _marker(inks, look(at))) for at, label in enumerate(page.series.values())]
        entries.append(("front", rule_sample(inks["muted"], "-")))
        return _draw(inks, page, one, across=across, entries=entries, after=label)

    return Drawing(name, page.title, plain(". ".join(told), 1500) + ".", draw, page.links)


def _with(
    rows: Sequence[StudyRow], model: str | None, task: str | None, has: Callable[[StudyRow], bool], what: str
) -> list[Panel]:
    """Panels with the rows that can be drawn; raises ``MissingData`` where there is none."""
    panels = panels_of(rows, model, task)
    if not panels:
        asked = " and ".join(
            f"{name} {plain(value, 60)!r}" for name, value in (("model", model), ("task", task)) if value
        )
        raise MissingData(f"the study has no row of {asked}" if asked else "the study has no row")
    found = [Panel(one.model, one.task, own) for one in panels if (own := [row for row in one.rows if has(row)])]
    if not found:
        why = {
            "score": "no cell of it has a score yet: either none has ended, or nothing is scored, as with the task"
            " `none`",
            "latency": "no cell of it has both a score and a latency: ask for `job.evaluation.latency`",
            "parameters": "no cell of it has both a score and a size yet",
        }[what]
        raise MissingData(why)
    return found


def _page(title: str, note: str, panels: list[Panel], link: LinkOf | None) -> _Page:
    shown = panels[:MOST_PANELS]
    if len(panels) > MOST_PANELS:
        note = f"the first {MOST_PANELS} of {len(panels)} models and tasks: choose with model and task. {note}"
    marks: dict[int, str] = {}
    links: dict[str, Link] = {}
    for row in (row for one in shown for row in one.rows):
        href = link(row) if link else None
        if href:
            marks[id(row)] = called = f"link-{len(links)}"
            links[called] = Link(href, plain(f"{_scored(row)} ({row.model}, {row.task})", 200))
    if len(shown) == 1:
        title = f"{title}: {shown[0].title}"
    return _Page(title, note, shown, series_of(shown), marks, links)


def _scored(row: StudyRow) -> str:
    mean = row.score_after.mean if row.score_after else 0.0
    kept = f", {row.layers_kept} kept" if row.layers_kept is not None else ""
    return f"{named(row)}{kept}: {mean:.2f}"


def _metric(page: _Page) -> str:
    names = {row.metric for one in page.panels for row in one.rows if row.metric}
    return f"score, {plain(names.pop(), 30)}" if len(names) == 1 else "score"


def _cost(row: StudyRow, timed: bool) -> float | None:
    if timed:
        return row.latency_ms.mean if row.latency_ms else None
    return row.parameters_after / 1e6 if row.parameters_after else None


def _costs(row: StudyRow, timed: bool) -> str:
    return f"{number(_cost(row, True) or 0)} ms" if timed else f"{millions(row.parameters_after or 0)} parameters"


def _marker(inks: Inks, style: Look) -> Sample:
    def draw(axes: Axes, x: float, y: float) -> None:
        axes.plot([x + 13], [y], marker=style.mark, color=inks[style.colour], markersize=8, linestyle="none")

    return draw


def _draw(
    inks: Inks, page: _Page, one: Callable[[Axes, Inks, _Page, Panel], None], *, across: str,
    entries: list[tuple[str, Sample]], after: Callable[[Axes, Panel], None] | None = None,
) -> Figure:  # fmt: skip
    """All panels of a page on one scale, in one column, two or three. ``after`` adds to one that stands alone, once its
    scale is known.
    """
    many = len(page.panels)
    columns = 1 if many == 1 else 2 if many <= 4 else 3
    lines = -(-many // columns)
    high, gap, top = (300, 0, 88) if many == 1 else (170, 88, 116)
    foot = top + lines * high + (lines - 1) * gap + 58
    rows = len(legend_rows([label for label, _ in entries]))
    figure, axes = sheet(foot + ROW * rows + 14, inks, page.title, f"{_metric(page)} · {page.note}")
    wide = (WIDTH - 24 - 64 - (columns - 1) * 54) / columns
    plots = []
    for at, found in enumerate(page.panels):
        left, above = 64 + (at % columns) * (wide + 54), top + (at // columns) * (high + gap)
        last = at + columns >= many
        plot = panel(figure, inks, (left, above, left + wide, above + high), across=across if last else "")
        if many > 1:
            say(axes, left, above - 26, found.task_name, inks["ink"], size=TEXT, most=int(wide / 8), weight="bold")
            say(axes, left, above - 10, found.model_name, inks["muted"], size=SMALL, most=int(wide / 7))
        one(plot, inks, page, found)
        plots.append(plot)
    _share(plots, page.panels)
    if after is not None and many == 1:
        after(plots[0], page.panels[0])
    legend(axes, foot, entries, inks)
    return figure


def _share(plots: list[Axes], panels: Sequence[Panel]) -> None:
    """The same range for all. An interval of few seeds may be wider than a score can be: its bar goes past the edge."""
    below_zero = any(row.score_after.mean < 0 for one in panels for row in one.rows if row.score_after)
    least, most = (-105.0 if below_zero else 0.0), 105.0
    for plot in plots:
        plot.margins(x=0.09, y=0.1)
        plot.autoscale_view()
    turned = plots[0].xaxis_inverted()
    across = [end for plot in plots for end in plot.get_xlim()]
    up = [end for plot in plots for end in plot.get_ylim()]
    for plot in plots:
        plot.set_xlim(*((max(across), min(across)) if turned else (min(across), max(across))))
        plot.set_ylim(max(min(up), least), min(max(up), most))
        whole_numbers(plot, *((8, 6) if len(plots) == 1 else (5, 4)))


def _score_panel(plot: Axes, inks: Inks, page: _Page, found: Panel) -> None:
    full = [row.score_before.mean for row in found.rows if row.score_before]
    if full:
        plot.axhline(sum(full) / len(full), color=inks["ink"], linestyle=RULE, linewidth=1.3)
    by_key: dict[tuple[str, str, str], list[StudyRow]] = {}
    for row in found.rows:
        by_key.setdefault(key_of(row), []).append(row)
    for at, (key, own) in enumerate(by_key.items()):
        own.sort(key=lambda row: -(row.layers_kept or 0))
        style = look(list(page.series).index(key))
        # Beside one another, where they would lie upon one another.
        shift = (at - (len(by_key) - 1) / 2) * min(0.07, 0.5 / len(by_key))
        places = [(row.layers_kept or 0) + shift for row in own]
        scores = [row.score_after.mean if row.score_after else 0.0 for row in own]
        plot.plot(places, scores, color=inks[style.colour], linestyle=style.dash, linewidth=1.8)
        for row, x, y in zip(own, places, scores, strict=True):
            if (ends := spread_of(row)) is not None:
                plot.plot([x, x], ends, color=inks[style.colour], linewidth=1.2, solid_capstyle="butt")
            _point(plot, inks, style, (x, y), called=page.mark(row))
            if row.published is not None and row.published.score is not None:
                plot.plot([x], [row.published.score], marker=style.mark, color=inks[style.colour],
                          markerfacecolor=inks["paper"], markersize=8, markeredgewidth=1.5)  # fmt: skip
    plot.invert_xaxis()


def _score_entries(inks: Inks, page: _Page) -> list[tuple[str, Sample]]:
    entries = [(label, line_sample(inks, look(at))) for at, label in enumerate(page.series.values())]
    rows = [row for one in page.panels for row in one.rows]
    if any(row.score_before for row in rows):
        entries.append(("full model", rule_sample(inks["ink"], RULE, 1.3)))
    if any(row.published and row.published.score is not None for row in rows):
        entries.append(("published (same mark, open)", line_sample(inks, Look("muted", "o", "-"), hollow=True)))
    return entries


def _point(
    plot: Axes, inks: Inks, style: Look, at: tuple[float, float], *, called: str | None, pale: float = 1.0
) -> None:
    (x, y), colour = at, inks[style.colour]
    plot.plot(
        [x], [y], marker=style.mark, color=colour, markeredgecolor=inks["paper"], markersize=9, markeredgewidth=1,
        linestyle="none", gid=called, alpha=pale, zorder=3,
    )  # fmt: skip


def _front(found: Panel, timed: bool) -> list[StudyRow]:
    return sorted((row for row in found.rows if row.front), key=lambda row: _cost(row, timed) or 0.0)


def _pareto_panel(plot: Axes, inks: Inks, page: _Page, found: Panel, timed: bool) -> None:
    front = _front(found, timed)
    if front:
        xs = [_cost(row, timed) or 0.0 for row in front]
        ys = [row.score_after.mean if row.score_after else 0.0 for row in front]
        plot.step(xs, ys, where="post", color=inks["muted"], linewidth=1.5)
    for row in sorted(found.rows, key=lambda row: row.front):
        x, y = _cost(row, timed) or 0.0, row.score_after.mean if row.score_after else 0.0
        _point(plot, inks, page.look(row), (x, y), called=page.mark(row), pale=1.0 if row.front else 0.35)


def _label(plot: Axes, inks: Inks, found: Panel, front: list[StudyRow], timed: bool) -> None:
    """What stands on the front is named where there is room, off its line first: above and to the left of a point."""
    from matplotlib.transforms import ScaledTranslation  # noqa: PLC0415 - only who draws has it

    def at(row: StudyRow) -> tuple[float, float]:
        x, y = plot.transData.transform((_cost(row, timed) or 0.0, row.score_after.mean if row.score_after else 0.0))
        return float(x), float(y)

    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in map(at, found.rows)]
    within = plot.get_window_extent()
    for row in front:
        drop = f"{row.drop:g}" if row.drop >= 1 else f"{100 * row.drop:g} %"
        text = plain(f"{row.strategy} −{drop}", 28)
        x, y = at(row)
        for right, up, side in ((-8, 5, "right"), (8, -14, "left"), (8, 5, "left"), (-8, -14, "right")):
            left = x + right - (width(text, SMALL) if side == "right" else 0)
            box = (left, y + up - 2, left + width(text, SMALL), y + up + 10)
            if box[0] < within.x0 or box[2] > within.x1 or any(_meet(box, other) for other in taken):
                continue
            shift = ScaledTranslation(right / 72, up / 72, plot.get_figure().dpi_scale_trans)  # type: ignore[union-attr]
            place = (_cost(row, timed) or 0.0, row.score_after.mean if row.score_after else 0.0)
            say(plot, *place, text, inks["ink"], size=SMALL, at=side, transform=plot.transData + shift)
            taken.append(box)
            break


def _meet(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
