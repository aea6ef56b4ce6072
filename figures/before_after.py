"""What a model was and what it is: size, score and speed as bars in pairs, with their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from api_schemas.reports import Report
from figures.drawing import Drawing
from figures.missing import MissingData
from figures.parts import EDGE, say, sheet
from figures.style import SMALL, TEXT, WIDTH, Inks
from figures.words import megabytes, millions, number, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "before_and_after"
LEFT, RIGHT = 190, 480  # where bars begin, and where the longest ends
PAIR, BAR = 58, 17


class _Pair(NamedTuple):
    """``shown``: both values in words; and so is ``change``."""

    what: str
    unit: str
    before: float
    after: float
    shown: tuple[str, str]
    change: str


def before_and_after(report: Report, *, name: str = NAME) -> Drawing:
    """Of one that only evaluates nothing changed, and there is nothing to compare."""
    if not report.layers.dropped and report.before == report.after:
        raise MissingData("this job dropped nothing and trained nothing: before and after are the same model")
    pairs = list(_pairs(report))
    title = f"{plain(report.model.id.rsplit('/', 1)[-1], 40)}: before and after"
    alt = "; ".join(f"{pair.what} {pair.shown[0]} before, {pair.shown[1]} after ({pair.change})" for pair in pairs)
    note = f"{len(report.layers.kept)} of {report.layers.total} layers, measured on {plain(report.device.name, 50)}"

    def draw(inks: Inks) -> Figure:
        return _draw(inks, title, note, pairs)

    return Drawing(name, title, f"{alt}.", draw)


def _pairs(report: Report) -> Iterator[_Pair]:
    was, now = report.before, report.after
    yield _Pair(
        "parameters", "", was.parameters, now.parameters, (millions(was.parameters), millions(now.parameters)),
        _percent(was.parameters, now.parameters),
    )  # fmt: skip
    yield _Pair(
        "weights",
        "",
        was.bytes,
        now.bytes,
        (megabytes(was.bytes), megabytes(now.bytes)),
        _percent(was.bytes, now.bytes),
    )
    if was.score is not None and now.score is not None:
        kept = "" if report.retention is None else f", keeps {number(100 * report.retention, 1)} %"
        yield _Pair(
            "score", report.task.metric or "", max(was.score, 0), max(now.score, 0),
            (f"{was.score:.2f}", f"{now.score:.2f}"), f"{now.score - was.score:+.2f}{kept}",
        )  # fmt: skip
    for one, other in zip(was.latency[:3], now.latency[:3], strict=False):
        cell = f"batch {one.batch_size} × {one.sequence_length} tokens"
        yield _Pair(
            "latency p50", cell, one.p50_ms, other.p50_ms, (f"{number(one.p50_ms)} ms", f"{number(other.p50_ms)} ms"),
            f"{one.p50_ms / other.p50_ms:.2f}× as fast" if other.p50_ms else "",
        )  # fmt: skip


def _percent(before: float, after: float) -> str:
    return f"{(after / before - 1) * 100:+.1f} %" if before else "unknown"


def _draw(inks: Inks, title: str, note: str, pairs: list[_Pair]) -> Figure:
    from matplotlib.patches import Rectangle  # noqa: PLC0415 - only who draws has it

    figure, axes = sheet(72 + PAIR * len(pairs) + 34, inks, title, note)
    y = 74.0
    for pair in pairs:
        say(axes, EDGE, y + 15, pair.what, inks["ink"], size=TEXT, most=22)
        if pair.unit:
            say(axes, EDGE, y + 32, pair.unit, inks["muted"], size=SMALL, most=25)
        most = max(pair.before, pair.after) or 1.0
        for at, (value, shown) in enumerate(zip((pair.before, pair.after), pair.shown, strict=True)):
            long, top = max(1.0, value / most * (RIGHT - LEFT)), y + at * (BAR + 2)
            face, edge = (inks["paper"], inks["muted"]) if at == 0 else (inks["c0"], inks["c0"])
            axes.add_patch(Rectangle((LEFT + 0.5, top + 0.5), long - 1, BAR - 1, facecolor=face, edgecolor=edge))
            say(axes, LEFT + long + 7, top + 13, shown, inks["muted" if at == 0 else "ink"], size=SMALL)
        say(
            axes,
            WIDTH - EDGE,
            y + BAR + 15,
            pair.change.replace("-", "−"),
            inks["ink"],
            size=SMALL,
            at="right",
            weight="bold",
        )
        y += PAIR
    for x, label, face, edge in ((EDGE, "before", "paper", "muted"), (EDGE + 86, "after", "c0", "c0")):
        axes.add_patch(Rectangle((x + 0.5, y + 4.5), 15, 11, facecolor=inks[face], edgecolor=inks[edge]))
        say(axes, x + 23, y + 14, label, inks["ink"], size=SMALL)
    return figure
