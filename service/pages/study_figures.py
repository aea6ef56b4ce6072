"""The figures of a study, to stand in its page: drawn in the room of all figures, whose points lead to jobs."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup
from starlette.concurrency import run_in_threadpool

from api_schemas.errors import LayercutError
from api_schemas.studies.shown import StudyRow
from figures import studies
from service.callers import Caller
from service.edge.root_path import address
from service.figures import Figure, study_figure
from service.pages.views.studies import Drawn
from service.state import GatewayState


@dataclass(frozen=True)
class Shown:
    """Either ``svg``, or why there is none."""

    name: str
    title: str
    alt: str
    svg: Markup | None
    missing: str
    query: str


async def study_figures(state: GatewayState, who: Caller, study_id: str, drawn: Drawn, query: str) -> list[Shown]:
    return [await _shown(state, who, study_id, name, drawn=drawn, query=query) for name in studies.NAMES]


async def _shown(state: GatewayState, who: Caller, study_id: str, name: str, *, drawn: Drawn, query: str) -> Shown:
    try:
        figure = await run_in_threadpool(_figure, drawn.rows, study_id, name, drawn)
        made = figure.drawing

        def draw() -> bytes:
            return made.svg(inline=True).encode()

        found = await state.drawing_room.draw(who.holder.tenant, (*figure.key, "inline"), draw)
    except LayercutError as error:
        if error.code not in ("figure_unavailable", "figures_not_installed", "too_busy"):
            raise
        return Shown(name, name.replace("_", " ").capitalize(), "", None, error.message, query)
    # Made by us, element by element, of texts that were escaped: service/pages shows nothing else as markup.
    return Shown(name, made.title, made.alt, Markup(found.content.decode()), "", query)


def _figure(rows: list[StudyRow], study_id: str, name: str, drawn: Drawn) -> Figure:
    return study_figure(rows, study_id, name, model=drawn.model, task=drawn.task, base=address("/ui/jobs"))
