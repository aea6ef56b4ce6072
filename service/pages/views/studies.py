"""Studies: a row each in their list, and the page of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlencode

from api_schemas.studies.shown import (
    Pick,
    Study,
    StudyHead,
    StudyList,
    StudyPreview,
    StudyProgress,
    StudyRow,
    StudyStatus,
)
from service.pages.views.jobs import model_name, shortened
from service.pages.views.plan import minutes
from service.pages.views.states import Word
from service.pages.views.study_rows import CELLS, PAGE, SORTS, Row, drop_text, sorted_rows, study_row

STATUSES: dict[StudyStatus, Word] = {
    StudyStatus.RUNNING: Word("Running", "active", "half", "Cells are open."),
    StudyStatus.PAUSED: Word("Paused", "waiting", "bar", "The budget is used up."),
    StudyStatus.CANCELLED: Word("Cancelled", "quiet", "bar", "It was stopped on request."),
    StudyStatus.FINISHED: Word("Finished", "good", "check", "Every cell has come to its end."),
}
#: Points of one figure that can be told apart.
MOST_DRAWN = 400
#: Panels of one figure.
MOST_PANELS = 12


@dataclass(frozen=True)
class StateCount:
    word: Word
    count: int


@dataclass(frozen=True)
class ProgressView:
    cells: int
    fraction: float
    eta_seconds: float | None
    states: list[StateCount]
    jobs: int
    known: int
    minutes: str
    gpu_hours: float


def progress_view(found: StudyProgress) -> ProgressView:
    return ProgressView(
        cells=found.cells,
        fraction=found.fraction,
        eta_seconds=found.eta_seconds,
        states=[StateCount(CELLS[state], count) for state, count in found.by_state.items()],
        jobs=found.jobs,
        known=found.known,
        minutes=minutes(found.minutes),
        gpu_hours=found.gpu_hours,
    )


@dataclass(frozen=True)
class HeadView:
    id: str
    path: str
    name: str
    status: Word
    live: bool
    progress: ProgressView
    created_at: datetime
    finished_at: datetime | None


def head_view(study: Study | StudyHead) -> HeadView:
    return HeadView(
        id=study.id,
        path=f"/ui/studies/{study.id}",
        name=shortened(study.name or "Study without a name"),
        status=STATUSES[study.status],
        live=study.status is StudyStatus.RUNNING,
        progress=progress_view(study.progress),
        created_at=study.created_at,
        finished_at=study.finished_at,
    )


@dataclass(frozen=True)
class StudiesView:
    rows: list[HeadView]
    address: str
    following: str | None
    is_first: bool
    live: bool


def studies_view(found: StudyList, after: str) -> StudiesView:
    rows = [head_view(one) for one in found.data]
    return StudiesView(
        rows=rows,
        address=_with("/ui/studies", after=after),
        following=_with("/ui/studies", after=found.next_cursor) if found.next_cursor else None,
        is_first=not after,
        live=any(row.live for row in rows),
    )


@dataclass(frozen=True)
class Asked:
    """What stands in the address of a study's page."""

    model: str = ""
    task: str = ""
    sort: str = ""
    page: int = 1
    min_retention: float | None = None
    sure: bool = False

    def address(self, path: str, **changed: str | int) -> str:
        kept = {"model": self.model, "task": self.task, "sort": self.sort, "page": self.page, **changed}
        return _with(path, **{name: value for name, value in kept.items() if (name, value) != ("page", 1)})


@dataclass(frozen=True)
class Head:
    """Of a column: where it leads, and how the table is sorted by it now."""

    name: str
    path: str
    direction: str


@dataclass(frozen=True)
class StudyView:
    head: HeadView
    reason: str
    asked: Asked
    models: list[tuple[str, str]]
    tasks: list[tuple[str, str]]
    heads: list[Head]
    rows: list[Row]
    count: int
    first: int
    pages: int
    before: str | None
    after: str | None
    has_published: bool
    has_front: bool
    sources: list[str]
    warnings: list[str]
    may_resume: bool
    may_cancel: bool
    may_delete: bool

    @property
    def figure_path(self) -> str:
        return f"/v1/studies/{self.head.id}/figures"


def study_view(study: Study, asked: Asked) -> StudyView:
    path = f"/ui/studies/{study.id}"
    wanted = rows_of(study.table, asked)
    pages = max(1, -(-len(wanted) // PAGE))
    asked = replace(asked, page=min(max(1, asked.page), pages))
    first = (asked.page - 1) * PAGE
    shown = sorted_rows(wanted, asked.sort)[first : first + PAGE]
    running = study.status is StudyStatus.RUNNING
    published = [row.published for row in wanted if row.published]
    return StudyView(
        head=head_view(study),
        reason=study.status_reason or "",
        asked=asked,
        models=[(one, shortened(model_name(one))) for one in dict.fromkeys(row.model for row in study.table)],
        tasks=[(one, shortened(one.rpartition("/")[2])) for one in dict.fromkeys(row.task for row in study.table)],
        heads=[_head(name, title, path, asked) for name, (title, _) in SORTS.items()],
        rows=[study_row(row) for row in shown],
        count=len(wanted),
        first=first,
        pages=pages,
        before=asked.address(path, page=asked.page - 1) if asked.page > 1 else None,
        after=asked.address(path, page=asked.page + 1) if asked.page < pages else None,
        has_published=bool(published),
        has_front=any(row.front for row in wanted),
        sources=list(dict.fromkeys(one.source for one in published)),
        warnings=study.warnings,
        may_resume=study.status in (StudyStatus.PAUSED, StudyStatus.CANCELLED) or _has_failed(study),
        may_cancel=running or study.status is StudyStatus.PAUSED,
        may_delete=not running and not any(cell.state.open for row in study.table for cell in row.cells),
    )


def rows_of(table: Sequence[StudyRow], asked: Asked) -> list[StudyRow]:
    return [row for row in table if asked.model in ("", row.model) and asked.task in ("", row.task)]


def _has_failed(study: Study) -> bool:
    return study.status is StudyStatus.FINISHED and any(
        cell.state == "failed" for row in study.table for cell in row.cells
    )


def _head(name: str, title: str, path: str, asked: Asked) -> Head:
    by, down = asked.sort.removeprefix("-"), asked.sort.startswith("-")
    turned = f"-{name}" if by != name or not down else name
    direction = ("descending" if down else "ascending") if by == name else ""
    return Head(title, asked.address(path, sort=turned, page=1), direction)


def _with(path: str, **asked: str | int | None) -> str:
    query = urlencode({name: value for name, value in asked.items() if value})
    return f"{path}?{query}" if query else path


@dataclass(frozen=True)
class Drawn:
    """The rows that a figure is drawn from, and of which model and task."""

    rows: list[StudyRow]
    model: str | None
    task: str | None
    note: str


def drawn_rows(table: Sequence[StudyRow], asked: Asked) -> Drawn:
    """At most what can be told apart: of too many panels the first, of too many points the front and the best."""
    rows = rows_of(table, asked)
    model, task, notes = asked.model or None, asked.task or None, []
    panels = list(dict.fromkeys((row.model, row.task) for row in rows))
    if len(panels) > MOST_PANELS:
        model, task = panels[0]
        rows = [row for row in rows if (row.model, row.task) == panels[0]]
        notes.append(f"the first of {len(panels)} models and tasks is drawn: choose another above")
    scored = [row for row in rows if row.score_after is not None]
    if len(scored) > MOST_DRAWN:
        ranked = sorted(scored, key=lambda row: (not row.front, -(row.score_after.mean if row.score_after else 0.0)))
        kept = {id(row) for row in ranked[:MOST_DRAWN]}
        rows = [row for row in rows if id(row) in kept]
        notes.append(f"{MOST_DRAWN} of {len(scored)} points are drawn: the front, and the best scores")
    return Drawn(rows, model, task, "; ".join(notes))


@dataclass(frozen=True)
class PickView:
    model: str
    task: str
    path: str | None
    download: str | None
    what: str
    reason: str


def pick_view(found: Pick) -> PickView:
    row = found.row
    return PickView(
        model=shortened(model_name(found.model)),
        task=shortened(found.task.rpartition("/")[2] or found.task),
        path=f"/ui/jobs/{found.job_id}" if found.job_id else None,
        download=f"/v1/jobs/{found.job_id}/download" if found.job_id else None,
        what=f"{row.strategy}, {drop_text(row.drop)} dropped" if row else "",
        reason=found.reason,
    )


@dataclass(frozen=True)
class PreviewView:
    cells: int
    to_run: int
    known: int
    impossible: list[tuple[str, str]]
    impossible_count: int
    takes: str
    baselines: int


#: Of cells that cannot be, in a preview.
MOST_IMPOSSIBLE = 5


def preview_view(found: StudyPreview) -> PreviewView:
    return PreviewView(
        cells=found.cells,
        to_run=found.cells - found.known - found.impossible_count,
        known=found.known,
        impossible=[(one.cell, one.reason) for one in found.impossible[:MOST_IMPOSSIBLE]],
        impossible_count=found.impossible_count,
        takes=minutes(found.minutes),
        baselines=found.baselines,
    )
