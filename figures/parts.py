"""What figures are put together of: sheets measured in pixels, axes with little ink, words, legends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from figures.library import new_figure
from figures.style import SMALL, TEXT, TITLE, WIDTH, Inks, Look
from figures.words import plain, width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Between the edge and what is drawn.
EDGE = 20
ROW = 20


def sheet(height: float, inks: Inks, title: str, note: str = "") -> tuple[Figure, Axes]:
    """A figure so many pixels high, with its title, and axes over all of it whose units are pixels from the top."""
    figure = new_figure(WIDTH, height)
    figure.patch.set_facecolor(inks["paper"])
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    say(axes, EDGE, 30, title, inks["ink"], size=TITLE, weight="bold", most=78)
    if note:
        say(axes, EDGE, 50, note, inks["muted"], size=SMALL, most=105)
    return figure, axes


def say(
    axes: Axes, x: float, y: float, text: object, colour: str, *,
    size: float = TEXT, at: str = "left", up: str = "baseline", weight: str = "normal", most: int = 90, **more: Any,
) -> None:  # fmt: skip
    """Words of anybody's at a place, as they are."""
    axes.text(
        x, y, plain(text, most), color=colour, fontsize=size, ha=at, va=up, fontweight=weight, parse_math=False, **more
    )


def panel(
    figure: Figure, inks: Inks, box: tuple[float, float, float, float], *, across: str = "", up: str = ""
) -> Axes:
    """Axes at ``box`` (left, top, right, bottom, in pixels), with a grid that one can overlook."""
    left, top, right, bottom = box
    wide, high = figure.get_size_inches() * figure.dpi
    axes = figure.add_axes((left / wide, 1 - bottom / high, (right - left) / wide, (bottom - top) / high))
    axes.set_facecolor("none")
    axes.grid(visible=True, color=inks["grid"], linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(colors=inks["muted"], labelsize=SMALL, length=0, pad=6)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(inks["muted"])
    if across:
        axes.set_xlabel(plain(across, 70), color=inks["muted"], fontsize=SMALL, labelpad=6, parse_math=False)
    if up:
        # Above, and not along the axis: nobody turns their head.
        say(axes, 0, 1.0, up, inks["muted"], size=SMALL, transform=_raised(axes, -44, 9))
    return axes


def _raised(axes: Axes, right: float, up: float) -> Any:
    from matplotlib.transforms import ScaledTranslation  # noqa: PLC0415 - only who draws has it

    return axes.transAxes + ScaledTranslation(right / 72, up / 72, axes.get_figure().dpi_scale_trans)  # type: ignore[union-attr]


def whole_numbers(plot: Axes, across: int = 8, up: int = 6) -> None:
    """Marks of what is counted along ``plot``, and about so many."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - only who draws has it

    plot.xaxis.set_major_locator(MaxNLocator(nbins=across, integer=True, min_n_ticks=1))
    plot.yaxis.set_major_locator(MaxNLocator(nbins=up))


Sample = Callable[["Axes", float, float], None]


def line_sample(inks: Inks, look: Look, *, hollow: bool = False) -> Sample:
    """A short piece of a series, for a legend."""

    def draw(axes: Axes, x: float, y: float) -> None:
        colour = inks[look.colour]
        if not hollow:
            axes.plot([x, x + 26], [y, y], color=colour, linestyle=look.dash, linewidth=2)
        face = inks["paper"] if hollow else colour
        axes.plot(
            [x + 13], [y], marker=look.mark, color=colour, markerfacecolor=face, markersize=7, markeredgewidth=1.5
        )

    return draw


def rule_sample(colour: str, dash: Any, thick: float = 1.5) -> Sample:
    def draw(axes: Axes, x: float, y: float) -> None:
        axes.plot([x, x + 26], [y, y], color=colour, linestyle=dash, linewidth=thick)

    return draw


def legend_rows(labels: Sequence[str]) -> list[list[int]]:
    """Which labels go on which line."""
    rows: list[list[int]] = []
    room = 0.0
    for at, label in enumerate(labels):
        needed = 34 + width(plain(label, 44), SMALL) + 18
        if not rows or room < needed:
            rows.append([])
            room = WIDTH - 2 * EDGE
        rows[-1].append(at)
        room -= needed
    return rows


def legend(axes: Axes, top: float, entries: Sequence[tuple[str, Sample]], inks: Inks) -> None:
    """Beneath ``top`` on a sheet's axes, in the lines of ``legend_rows``."""
    for line, row in enumerate(legend_rows([label for label, _ in entries])):
        x, y = float(EDGE), top + ROW * line + ROW / 2
        for at in row:
            label, sample = entries[at]
            sample(axes, x, y)
            say(axes, x + 34, y + 4, label, inks["ink"], size=SMALL, most=44)
            x += 34 + width(plain(label, 44), SMALL) + 18
