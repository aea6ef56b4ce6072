"""The figures of a job: what each is drawn from, read as the report and the events are."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import BaseModel

from api_schemas.errors import LayercutError
from api_schemas.jobs import Job
from api_schemas.plans import Plan
from api_schemas.reports import Report
from figures import Drawing, MissingData, jobs, studies
from figures.curves import CurveData, CurveReading
from service.published import Published
from service.state import GatewayState
from store.audit import Actor
from store.jobs import JobStore

#: Events that one request reads of a job; the next goes on from there.
MOST_EVENTS, PAGE = 50_000, 1000
#: Jobs whose events are remembered.
MOST_READINGS = 16


@dataclass(frozen=True)
class Figure:
    """Ready to be drawn; ``key`` is the same for what is drawn from the same."""

    drawing: Drawing
    key: tuple[str, ...]


def job_figure(state: GatewayState, actor: Actor, job_id: str, name: str) -> Figure:
    """Reads what the figure needs; raises ``job_not_found``, and ``figure_unavailable`` for what is not there."""
    make = JOB_FIGURES.get(name)
    if make is None:
        raise _unknown(name, jobs.NAMES)
    found = _Sources(state, state.store.of(actor), job_id)
    try:
        drawing, seen = make(found)
    except MissingData as missing:
        raise LayercutError("figure_unavailable", missing.sentence) from None
    return Figure(drawing, ("job", job_id, name, seen))


def study_figure(
    rows: list[Any], study_id: str, name: str, *, model: str | None, task: str | None, base: str
) -> Figure:
    """As ``job_figure``, from the rows of a study's table. Points lead to their jobs, beneath ``base``."""
    make = STUDY_FIGURES.get(name)
    if make is None:
        raise _unknown(name, studies.NAMES)

    def link(row: Any) -> str | None:
        return next((f"{base}/{cell.job_id}" for cell in row.cells if cell.job_id), None)

    try:
        drawing = make(rows, model, task, link=link)
    except MissingData as missing:
        raise LayercutError("figure_unavailable", missing.sentence) from None
    return Figure(drawing, ("study", study_id, name, str(model), str(task), base, _hash(*rows)))


def _unknown(name: str, names: tuple[str, ...]) -> LayercutError:
    return LayercutError("figure_unavailable", f"there is no figure {name[:80]!r}; there are {', '.join(names)}")


class _Sources:
    """Of one job; read when they are asked for."""

    def __init__(self, state: GatewayState, own: JobStore, job_id: str) -> None:
        self._state, self._own = state, own
        self.job: Job = own.get(job_id)

    def report(self) -> tuple[Report, str] | str:
        """With its sha256; else why there is none."""
        try:
            published = Published(self._state, self._own, self.job.id)
            file = published.manifest.find("report.json")
            return Report.model_validate_json(published.start(file, file.bytes)), file.sha256
        except LayercutError as error:
            if error.code in ("result_not_ready", "expired", "file_not_found"):
                return error.message
            raise

    def plan(self) -> Plan | None:
        return self.job.resolved.plan if self.job.resolved else None

    def curves(self) -> tuple[CurveData, int]:
        return READINGS.read(self._own, self.job.id)


def _layers(found: _Sources) -> tuple[Drawing, str]:
    report, plan = found.report(), found.plan()
    if not isinstance(report, str):
        return jobs.strip_of_report(report[0]), report[1]
    if plan is None:
        raise MissingData("the model was not looked at yet: the figure is there once a worker has begun")
    return jobs.strip_of_plan(plan), _hash(plan)


def _before_and_after(found: _Sources) -> tuple[Drawing, str]:
    report = found.report()
    if isinstance(report, str):
        raise MissingData(f"there is no report to draw it from: {report}")
    return jobs.before_and_after(report[0]), report[1]


def _curves(found: _Sources) -> tuple[Drawing, str]:
    data, number = found.curves()
    return jobs.curves(data, metric=found.job.result.metric if found.job.result else None), f"{number}"


def _search(found: _Sources) -> tuple[Drawing, str]:
    report, plan = found.report(), found.plan()
    if not isinstance(report, str):
        return jobs.search_curve(report[0].search), report[1]
    if plan is not None and plan.search is None and plan.strategy == "auto":
        raise MissingData("the search is not over: the figure is there after the stage `planning`")
    return jobs.search_curve(plan.search if plan else None), "" if plan is None else _hash(plan)


JOB_FIGURES: dict[str, Callable[[_Sources], tuple[Drawing, str]]] = {
    jobs.LAYERS: _layers,
    jobs.BEFORE_AND_AFTER: _before_and_after,
    jobs.CURVES: _curves,
    jobs.SEARCH: _search,
}
STUDY_FIGURES: dict[str, Callable[..., Drawing]] = {
    studies.SCORE: studies.score_by_layers,
    studies.PARETO: studies.pareto,
}


def _hash(*parts: BaseModel) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.model_dump_json().encode())
    return digest.hexdigest()


@dataclass
class _Read:
    """Of one job: what was made of its events, up to ``number``."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    reading: CurveReading = field(default_factory=CurveReading)
    number: int = 0


class Readings:
    """What was read of the events of a few jobs: a page that shows a curve live asks again and again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read: OrderedDict[str, _Read] = OrderedDict()

    def read(self, own: JobStore, job_id: str) -> tuple[CurveData, int]:
        """What the events of the job say, and the number of the last that was read. ``own`` was asked for the job."""
        with self._lock:
            found = self._read.setdefault(job_id, _Read())
            self._read.move_to_end(job_id)
            if len(self._read) > MOST_READINGS:
                self._read.popitem(last=False)
        with found.lock:
            more, most = True, found.number + MOST_EVENTS
            while more and found.number < most:
                events, more = own.events(job_id, found.number, PAGE)
                for event in events:
                    found.reading.take(event)
                    found.number = event.number
                more = more and bool(events)
            return found.reading.found(), found.number


READINGS = Readings()


def rendered(drawing: Drawing, form: str, theme: str, scale: float) -> Callable[[], bytes]:
    """What draws it, in the thread that draws."""
    if form == "svg":
        return partial(_svg, drawing, theme)
    return partial(drawing.png, "dark" if theme == "dark" else "light", scale)


def _svg(drawing: Drawing, theme: Any) -> bytes:
    return drawing.svg(theme).encode()
