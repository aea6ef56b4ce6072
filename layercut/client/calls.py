"""The calls that are answered at once: one question, one model of ``api_schemas``."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from api_schemas.catalog import ArchitectureList, StrategyList, TaskList
from api_schemas.ceilings import CeilingList
from api_schemas.jobs import FileInfo, FileList, Job, JobList, JobsCancelled
from api_schemas.previews import JobPreview, PlanAnswer
from api_schemas.reports import Report
from api_schemas.studies.shown import StudyList
from api_schemas.uploads import DatasetList, ModelList
from api_schemas.workers import WorkerList
from layercut.client.answers import JSON, as_model, body_of, path_of, to_json
from layercut.client.errors import InvalidAnswer
from layercut.client.retries import Patience, ask, expect
from layercut.client.steps import Flow, Item, Request

Shown = TypeVar("Shown", bound=BaseModel)
Page = TypeVar("Page", JobList, DatasetList, ModelList, StudyList)
Asked = BaseModel | Mapping[str, Any] | None

#: Of a request, in seconds: looking at a model on the hub, or at gigabytes of rows, takes a while.
ANSWER_SECONDS = 300.0
#: Of a page.
MOST = 100
#: What an answer is that has nothing in it.
NO_CONTENT = 204
MARKDOWN = "text/markdown"


class Calls:
    """``patience`` is that of the client."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience

    def submit(self, given: Asked, fields: Mapping[str, Any], key: str | None) -> Flow[Job]:
        return (yield from self.post(Job, path_of("jobs"), body_of(given, fields), key))

    def validate(self, given: Asked, fields: Mapping[str, Any]) -> Flow[JobPreview]:
        params = {"validate_only": "true"}
        return (yield from self.post(JobPreview, path_of("jobs"), body_of(given, fields), params=params))

    def plan(self, given: Asked, fields: Mapping[str, Any]) -> Flow[PlanAnswer]:
        return (yield from self.post(PlanAnswer, path_of("plans"), body_of(given, fields)))

    def get(self, id: str, wait: float = 0.0) -> Flow[Job]:
        """``wait``: seconds that the service may take until something changes."""
        request = Request("GET", path_of("jobs", id))
        if wait > 0:
            request = Request("GET", request.path, {"Prefer": f"wait={wait:.0f}"}, silence=wait + ANSWER_SECONDS)
        return (yield from self.show(Job, request))

    def cancel(self, id: str) -> Flow[Job]:
        return (yield from self.post(Job, path_of("jobs", id, "cancel")))

    def cancel_all(self, filter: Mapping[str, Any]) -> Flow[JobsCancelled]:
        return (yield from self.post(JobsCancelled, path_of("jobs", "cancel"), body_of(filter, {})))

    def retry(self, id: str, key: str | None) -> Flow[Job]:
        return (yield from self.post(Job, path_of("jobs", id, "retry"), key=key))

    def delete(self, *path: str, params: Mapping[str, Any] | None = None) -> Flow[None]:
        answer = yield from ask(Request("DELETE", path_of(*path), params=params or {}), self._patience)
        if answer.status != NO_CONTENT:
            raise InvalidAnswer(f"{answer.request}: {answer.status} came, not 204: is this a layercut service?")

    def report(self, id: str) -> Flow[Report]:
        return (yield from self.show(Report, Request("GET", path_of("jobs", id, "report"), {"Accept": JSON})))

    def card(self, id: str) -> Flow[str]:
        answer = yield from ask(Request("GET", path_of("jobs", id, "report"), {"Accept": MARKDOWN}), self._patience)
        expect(answer, MARKDOWN)
        return answer.body.decode("utf-8", "replace")

    def files(self, id: str) -> Flow[list[FileInfo]]:
        return (yield from self.show(FileList, Request("GET", path_of("jobs", id, "files")))).data

    def strategies(self) -> Flow[StrategyList]:
        return (yield from self.show(StrategyList, Request("GET", path_of("strategies"))))

    def tasks(self) -> Flow[TaskList]:
        return (yield from self.show(TaskList, Request("GET", path_of("tasks"))))

    def architectures(self) -> Flow[ArchitectureList]:
        return (yield from self.show(ArchitectureList, Request("GET", path_of("architectures"))))

    def limits(self) -> Flow[CeilingList]:
        return (yield from self.show(CeilingList, Request("GET", path_of("limits"))))

    def workers(self) -> Flow[WorkerList]:
        return (yield from self.show(WorkerList, Request("GET", path_of("workers"))))

    def jobs(self, filter: Mapping[str, Any], most: int | None) -> Flow[None]:
        """Each ``Job``, newest first, ``most`` of them at most."""
        yield from self.pages(JobList, "jobs", filter, most)

    def pages(self, kind: type[Page], name: str, filter: Mapping[str, Any], most: int | None) -> Flow[None]:
        """Each of ``/v1/<name>`` as an ``Item``, newest first, ``most`` of them at most."""
        left, params = most, query(filter)
        while left is None or left > 0:
            size = MOST if left is None else min(left, MOST)
            page = yield from self.show(kind, Request("GET", path_of(name), params={**params, "limit": size}))
            for one in page.data[:left]:
                yield Item(one)
            if not page.has_more or page.next_cursor is None or not page.data:
                return
            left = None if left is None else left - len(page.data)
            params["after"] = page.next_cursor

    def show_one(self, kind: type[Shown], *path: str) -> Flow[Shown]:
        return (yield from self.show(kind, Request("GET", path_of(*path))))

    def show(self, kind: type[Shown], request: Request) -> Flow[Shown]:
        return as_model(kind, (yield from ask(request, self._patience)))

    def post(self, kind: type[Shown], path: str, body: bytes = b"", key: str | None = None, **more: Any) -> Flow[Shown]:
        # Made before the first try, so that all tries are one request.
        headers = {"Idempotency-Key": key or secrets.token_hex(16)}
        if body:
            headers["Content-Type"] = JSON
        return (yield from self.show(kind, Request("POST", path, headers, content=body, **more)))


def query(filter: Mapping[str, Any]) -> dict[str, Any]:
    """As a query: what is None is left out, and ``metadata`` is spread over its keys."""
    given = {name: value for name, value in to_json(dict(filter)).items() if value is not None}
    return given | {f"metadata[{key}]": value for key, value in given.pop("metadata", {}).items()}
