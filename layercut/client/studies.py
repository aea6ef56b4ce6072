"""Studies: many jobs asked for at once, their table, and the figures of a job or a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from api_schemas.studies.request import ResumeStudy
from api_schemas.studies.shown import CellState, PickList, Study, StudyList, StudyPreview, StudyStatus
from layercut.client.answers import body_of, path_of
from layercut.client.calls import Asked, Calls, query
from layercut.client.errors import StudyTimeout
from layercut.client.retries import Patience, ask, expect
from layercut.client.steps import Flow, Pause, Request

#: Between two looks at a study: the first, how much longer the next where nothing has changed, and the longest.
LOOK_SECONDS, LONGER, LONGEST_SECONDS = 0.5, 1.5, 5.0
#: What comes of itself no more: whoever waits need not.
AT_REST = frozenset({StudyStatus.FINISHED, StudyStatus.CANCELLED, StudyStatus.PAUSED})
TABLES = {"csv": "text/csv", "markdown": "text/markdown"}
FIGURES = {"svg": "image/svg+xml", "png": "image/png"}

OnChange = Callable[[Study], None]


class Studies:
    def __init__(self, calls: Calls, patience: Patience) -> None:
        self._calls, self._patience = calls, patience

    def create(self, given: Asked, fields: Mapping[str, Any], key: str | None) -> Flow[Study]:
        return (yield from self._calls.post(Study, path_of("studies"), body_of(given, fields), key))

    def validate(self, given: Asked, fields: Mapping[str, Any]) -> Flow[StudyPreview]:
        params = {"validate_only": "true"}
        return (yield from self._calls.post(StudyPreview, path_of("studies"), body_of(given, fields), params=params))

    def get(self, id: str) -> Flow[Study]:
        return (yield from self._calls.show_one(Study, "studies", id))

    def all(self, most: int | None) -> Flow[None]:
        """Each ``StudyHead``, newest first."""
        yield from self._calls.pages(StudyList, "studies", {}, most)

    def table(self, id: str, format: str) -> Flow[str]:
        media_type = _one_of(TABLES, format, "table")
        answer = yield from ask(Request("GET", path_of("studies", id), {"Accept": media_type}), self._patience)
        expect(answer, media_type)
        return answer.body.decode("utf-8", "replace")

    def pick(self, id: str, min_retention: float, sure: bool) -> Flow[PickList]:
        params = {"min_retention": min_retention, "sure": str(sure).lower()}
        return (yield from self._calls.show(PickList, Request("GET", path_of("studies", id, "pick"), params=params)))

    def cancel(self, id: str) -> Flow[Study]:
        return (yield from self._calls.post(Study, path_of("studies", id, "cancel")))

    def resume(self, id: str, asked: ResumeStudy) -> Flow[Study]:
        return (yield from self._calls.post(Study, path_of("studies", id, "resume"), body_of(asked, {})))

    def add(self, id: str, given: Asked, fields: Mapping[str, Any]) -> Flow[Study]:
        return (yield from self._calls.post(Study, path_of("studies", id, "cells"), body_of(given, fields)))

    def delete(self, id: str, jobs: bool) -> Flow[None]:
        yield from self._calls.delete("studies", id, params={"jobs": "true"} if jobs else {})

    def wait(self, id: str, timeout: float | None, on_change: OnChange | None) -> Flow[Study]:
        """The study once it is at rest; raises ``StudyTimeout`` when it is not within ``timeout`` seconds."""
        clock = self._patience.clock
        began, pause = clock(), LOOK_SECONDS
        told = None
        while True:
            study = yield from self.get(id)
            if _where(study) != told:
                told, pause = _where(study), LOOK_SECONDS
                if on_change is not None:
                    on_change(study)
            if _at_rest(study):
                return study
            left = LONGEST_SECONDS if timeout is None else timeout - (clock() - began)
            if left <= 0:
                raise StudyTimeout(study, timeout or 0.0)
            yield Pause(min(left, pause))
            pause = min(LONGER * pause, LONGEST_SECONDS)

    def figure(self, of: str, id: str, name: str, format: str, filter: Mapping[str, Any]) -> Flow[bytes]:
        """``of``: jobs, or studies."""
        media_type = _one_of(FIGURES, format, "figure")
        path = path_of(of, id, "figures", f"{_given(name)}.{format}")
        answer = yield from ask(Request("GET", path, {"Accept": media_type}, query(filter)), self._patience)
        expect(answer, media_type)
        return answer.body


def _at_rest(study: Study) -> bool:
    """What ran when the budget was used up is ended as usual."""
    runs = any(study.progress.by_state.get(state) for state in (CellState.QUEUED, CellState.RUNNING))
    return study.status in AT_REST and not (study.status is StudyStatus.PAUSED and runs)


def _where(study: Study) -> tuple[object, ...]:
    """What a watcher is told of, once: the clock alone is no news."""
    progress = study.progress
    return study.status, progress.by_state, progress.fraction, progress.jobs, progress.cells


def _given(name: str) -> str:
    if not name:
        raise ValueError("the figure's name is missing: what was given is empty")
    return name


def _one_of(table: Mapping[str, str], format: str, what: str) -> str:
    if format not in table:
        raise ValueError(f"a {what} is {' or '.join(table)}, not {format!r}")
    return table[format]
