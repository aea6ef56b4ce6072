"""The figures that lie beside a card: as SVG, and as PNG, which every renderer of Markdown shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from api_schemas.figures import FOLDER
from api_schemas.reports import Report
from figures import Drawing, MissingData, jobs
from figures.curves import CurveData


@dataclass(frozen=True)
class CardFigure:
    """``path`` as the card names it, from its own folder."""

    name: str
    path: str
    alt: str


def write_figures(report: Report, curves: CurveData, folder: Path) -> list[CardFigure]:
    """Draw what there is to be drawn of ``report`` into ``folder``; those that lack something are left out.

    Raises ``figures_not_installed``, and whatever else goes wrong in drawing.
    """
    drawn = []
    for make in MADE:
        try:
            drawn.append(make(report, curves))
        except MissingData:
            continue
    found = [_write(drawing, folder) for drawing in drawn]
    return found


def _layers(report: Report, curves: CurveData) -> Drawing:
    if not report.layers.dropped and not report.strategy.importance:
        raise MissingData("all layers stay, and none was measured")
    return jobs.strip_of_report(report)


#: As `api_schemas.figures.CARD` names them.
MADE: tuple[Callable[[Report, CurveData], Drawing], ...] = (
    _layers,
    lambda report, curves: jobs.before_and_after(report),
    lambda report, curves: jobs.curves(curves, metric=report.task.metric),
)


def _write(drawing: Drawing, folder: Path) -> CardFigure:
    path = folder / FOLDER / drawing.name
    # Both are made before one is written: a figure lies there in both forms, or in none.
    svg, png = drawing.svg(), drawing.png()
    path.parent.mkdir(exist_ok=True)
    path.with_suffix(".svg").write_text(svg, encoding="utf-8")
    path.with_suffix(".png").write_bytes(png)
    return CardFigure(drawing.name, f"{FOLDER}/{drawing.name}.png", drawing.alt)
