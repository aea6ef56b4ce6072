"""The layers of a model as a strip: which stay, which go, and how important each was found to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api_schemas.plans import Plan
from api_schemas.reports import Report, StackMap
from figures.drawing import Drawing
from figures.missing import MissingData
from figures.parts import EDGE, say, sheet
from figures.style import DARK_SHADES, RAMP, SMALL, TEXT, WIDTH, Inks
from figures.words import joined, number, plain, width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "layers"
#: Cells of one line, and how wide the widest may be.
ACROSS, WIDEST = 24, 48
HIGH, GAP = 38, 3
#: Of a thousand layers no single one can be seen, and a strip would have fifty lines.
MOST_LAYERS = 480


@dataclass(frozen=True)
class _Cell:
    """``number`` as it is written in it; ``shade`` is of the ramp, None where nothing was measured."""

    number: int
    dropped: bool
    shade: str | None


def layer_strip(
    total: int,
    dropped: Sequence[int] | None,
    importance: Sequence[float | None] | None = None,
    stacks: Mapping[str, StackMap] | None = None,
    *,
    measure: str | None = None,
    name: str = NAME,
) -> Drawing:
    """One cell a layer. ``dropped`` and ``importance`` are numbered through ``stacks``, as in a plan and a report."""
    if dropped is None:
        raise MissingData(
            "which layers go is not known yet: they are chosen by what a worker measures. The figure is there after"
            " the stage `planning`"
        )
    if total > MOST_LAYERS:
        raise MissingData(f"a strip has at most {MOST_LAYERS} layers, and this model has {total}: see `layers.dropped`")
    gone, ranked = set(dropped), list(importance or ())[:total]
    low, high, shades = _shades(ranked)
    cells = [_Cell(layer, layer in gone, shades[layer] if layer < len(shades) else None) for layer in range(total)]
    bands = _bands(cells, stacks)
    kept = total - len(gone)
    title = f"{kept} of {total} layers stay"
    measured = high is not None
    which = f"Layers {joined(list(map(str, sorted(gone))), 24)} go" if gone else "No layer goes"
    told = f", counted from 0 in the original model; {kept} of {total} stay."
    span = f" Importance ({plain(measure or 'measured', 40)}) from {low:.4g} to {high:.4g}." if measured else ""

    def draw(inks: Inks) -> Figure:
        return _draw(inks, title, bands, measure if measured else None, (low, high))

    return Drawing(name, title, which + told + span, draw)


def strip_of_plan(plan: Plan) -> Drawing:
    return layer_strip(plan.layers_total, plan.dropped, plan.importance, plan.stacks, measure=plan.measure)


def strip_of_report(report: Report) -> Drawing:
    layers, strategy = report.layers, report.strategy
    return layer_strip(layers.total, layers.dropped, strategy.importance, layers.stacks, measure=strategy.measure)


def _shades(importance: Sequence[float | None]) -> tuple[float | None, float | None, list[str | None]]:
    """The lowest, the highest, and the shade of each: an equal part of what lies between for each shade."""
    known = [value for value in importance if value is not None and abs(value) < float("inf")]
    if not known:
        return None, None, []
    low, high = min(known), max(known)
    span = (high - low) or 1.0

    def shade(value: float | None) -> str | None:
        if value is None or not abs(value) < float("inf"):
            return None
        return RAMP[min(len(RAMP) - 1, int((value - low) / span * len(RAMP)))]

    return low, high, [shade(value) for value in importance]


def _bands(cells: list[_Cell], stacks: Mapping[str, StackMap] | None) -> list[tuple[str, list[_Cell]]]:
    if not stacks:
        return [("", cells)]
    bands, first = [], 0
    for stack, found in stacks.items():
        own = cells[first : first + found.total]
        # In a stack of its own, each layer has its number there.
        bands.append((stack, [_Cell(at, cell.dropped, cell.shade) for at, cell in enumerate(own)]))
        first += found.total
    return bands


def _draw(
    inks: Inks,
    title: str,
    bands: list[tuple[str, list[_Cell]]],
    measure: str | None,
    ends: tuple[float | None, float | None],
) -> Figure:
    longest = min(ACROSS, max(len(cells) for _, cells in bands))
    wide = min(WIDEST, (WIDTH - 2 * EDGE + GAP) / longest - GAP)
    lines = sum(-(-len(cells) // longest) for _, cells in bands)
    named = sum(bool(stack) for stack, _ in bands)
    height = 58 + lines * (HIGH + 8) + named * 22 + 44
    figure, axes = sheet(height, inks, title)
    y = 50.0
    for stack, cells in bands:
        if stack:
            say(axes, EDGE, y + 14, stack, inks["muted"], size=TEXT)
            y += 22
        for start in range(0, len(cells), longest):
            for at, cell in enumerate(cells[start : start + longest]):
                _cell(axes, inks, cell, (EDGE + at * (wide + GAP), y, wide))
            y += HIGH + 8
    _legend(axes, inks, y + 10, measure, ends)
    return figure


def _cell(axes: Axes, inks: Inks, cell: _Cell, place: tuple[float, float, float]) -> None:
    from matplotlib.patches import Rectangle  # noqa: PLC0415 - only who draws has it

    x, y, wide = place
    if cell.dropped:
        axes.add_patch(
            Rectangle(
                (x + 0.5, y + 0.5), wide - 1, HIGH - 1, facecolor="none", edgecolor=inks["muted"], linestyle=(0, (3, 2))
            )
        )
        axes.plot([x + 1, x + 11], [y + 11, y + 1], color=inks["muted"], linewidth=1)
        if cell.shade:  # how important it was, in a foot of its own: the cell itself is empty
            axes.add_patch(Rectangle((x + 3, y + HIGH - 7), wide - 6, 4, facecolor=inks[cell.shade], edgecolor="none"))
        else:
            right, foot = x + wide - 1, y + HIGH - 1
            axes.plot([right - 10, right], [foot, foot - 10], color=inks["muted"], linewidth=1)
        colour = inks["muted"]
    else:
        shade = cell.shade or "s2"
        axes.add_patch(Rectangle((x, y), wide, HIGH, facecolor=inks[shade], edgecolor="none"))
        colour = inks["paper" if shade in DARK_SHADES else "ink"]
    say(axes, x + wide / 2, y + 23, cell.number, colour, size=SMALL, at="center")


def _legend(axes: Axes, inks: Inks, y: float, measure: str | None, ends: tuple[float | None, float | None]) -> None:
    from matplotlib.patches import Rectangle  # noqa: PLC0415 - only who draws has it

    x, low, high = float(EDGE), *ends
    axes.add_patch(Rectangle((x, y), 16, 16, facecolor=inks["s2"], edgecolor="none"))
    say(axes, x + 23, y + 12, "stays", inks["ink"], size=SMALL)
    x += 78
    axes.add_patch(
        Rectangle((x + 0.5, y + 0.5), 15, 15, facecolor="none", edgecolor=inks["muted"], linestyle=(0, (3, 2)))
    )
    axes.plot([x + 1, x + 9], [y + 9, y + 1], color=inks["muted"], linewidth=1)
    say(axes, x + 23, y + 12, "goes", inks["ink"], size=SMALL)
    if measure is None or low is None or high is None:
        return
    x += 74
    label = f"{plain(measure, 30).replace('_', ' ')}: {_short(low)}"
    x += width(label, SMALL)
    say(axes, x, y + 12, label, inks["ink"], size=SMALL, at="right")
    x += 8
    for at, shade in enumerate(RAMP):
        axes.add_patch(Rectangle((x + at * 18, y), 18, 16, facecolor=inks[shade], edgecolor="none"))
    say(axes, x + 18 * len(RAMP) + 8, y + 12, _short(high), inks["ink"], size=SMALL)


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 0.1 or abs(value) >= 10_000 else number(value, 3)
