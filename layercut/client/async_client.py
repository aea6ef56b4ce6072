"""`AsyncClient`: as `Client`, to programs that await."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel

from api_schemas.catalog import ArchitectureList, StrategyList, TaskList
from api_schemas.ceilings import CeilingList
from api_schemas.events import Event
from api_schemas.jobs import FileInfo, Job, JobsCancelled, Status
from api_schemas.logs import LogPiece
from api_schemas.previews import JobPreview, PlanAnswer
from api_schemas.reports import Report
from api_schemas.studies.request import Budget, ResumeStudy
from api_schemas.studies.shown import PickList, Study, StudyHead, StudyPreview
from api_schemas.uploads import Dataset, DatasetList, Model, ModelList
from api_schemas.workers import WorkerList
from layercut.client.async_wire import AsyncWire
from layercut.client.calls import ANSWER_SECONDS
from layercut.client.downloading import OnProgress
from layercut.client.flows import Flows
from layercut.client.settings import Place
from layercut.client.steps import Flow
from layercut.client.studies import OnChange

T = TypeVar("T")


class AsyncClient:
    """Each call is that of `Client`, awaited; what is iterated there is iterated here with ``async for``."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        retry_seconds: float = 60.0,
        timeout: float = ANSWER_SECONDS,
    ) -> None:
        self._place = Place.of(url, api_key)
        options: dict[str, Any] = self._place.options(timeout)
        self._http = httpx.AsyncClient(**options)
        self._flows = Flows(retry_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<AsyncClient of {self._place}>"

    async def aclose(self) -> None:
        await self._http.aclose()

    async def submit(
        self,
        request: BaseModel | Mapping[str, Any] | None = None,
        /,
        *,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Job:
        return await self._run(self._flows.calls.submit(request, fields, idempotency_key))

    async def validate(self, request: BaseModel | Mapping[str, Any] | None = None, /, **fields: Any) -> JobPreview:
        return await self._run(self._flows.calls.validate(request, fields))

    async def plan(self, request: BaseModel | Mapping[str, Any] | None = None, /, **fields: Any) -> PlanAnswer:
        return await self._run(self._flows.calls.plan(request, fields))

    async def get(self, id: str) -> Job:
        return await self._run(self._flows.calls.get(id))

    def list(
        self,
        *,
        status: Status | str | Sequence[str] | None = None,
        task: str | None = None,
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Job]:
        filter = {
            "status": status,
            "task": task,
            "model": model,
            "metadata": metadata,
            "created_after": created_after,
            "created_before": created_before,
        }
        return self._iterate(self._flows.calls.jobs(filter, limit))

    async def wait(self, id: str, timeout: float | None = None) -> Job:
        return await self._run(self._flows.watching.wait(id, timeout))

    def events(self, id: str, after: int = 0, *, timeout: float | None = None) -> AsyncIterator[Event]:
        return self._iterate(self._flows.watching.events(id, after, timeout))

    def logs(self, id: str, offset: int = 0, *, follow: bool = False) -> AsyncIterator[LogPiece]:
        watching = self._flows.watching
        return self._iterate((watching.log if follow else watching.log_so_far)(id, offset))

    async def cancel(self, id: str) -> Job:
        return await self._run(self._flows.calls.cancel(id))

    async def cancel_all(self, **filter: Any) -> JobsCancelled:
        return await self._run(self._flows.calls.cancel_all(filter))

    async def retry(self, id: str, *, idempotency_key: str | None = None) -> Job:
        return await self._run(self._flows.calls.retry(id, idempotency_key))

    async def delete(self, id: str) -> None:
        await self._run(self._flows.calls.delete("jobs", id))

    async def report(self, id: str) -> Report:
        return await self._run(self._flows.calls.report(id))

    async def card(self, id: str) -> str:
        return await self._run(self._flows.calls.card(id))

    async def files(self, id: str) -> Sequence[FileInfo]:
        return await self._run(self._flows.calls.files(id))

    async def download(self, id: str, folder: str | Path, *, on_progress: OnProgress | None = None) -> Path:
        return await self._run(self._flows.downloading.download(id, Path(folder), on_progress))

    async def upload_dataset(
        self,
        *paths: str | Path,
        name: str | None = None,
        resume: str | None = None,
        idempotency_key: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Dataset:
        flow = self._flows.uploading.dataset(
            paths, name=name, resume=resume, key=idempotency_key, on_progress=on_progress
        )
        return await self._run(flow)

    async def upload_model(
        self,
        folder: str | Path,
        *,
        name: str | None = None,
        resume: str | None = None,
        idempotency_key: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Model:
        flow = self._flows.uploading.model(
            folder, name=name, resume=resume, key=idempotency_key, on_progress=on_progress
        )
        return await self._run(flow)

    def datasets(self, limit: int | None = None) -> AsyncIterator[Dataset]:
        return self._iterate(self._flows.calls.pages(DatasetList, "datasets", {}, limit))

    def models(self, limit: int | None = None) -> AsyncIterator[Model]:
        return self._iterate(self._flows.calls.pages(ModelList, "models", {}, limit))

    async def dataset(self, id: str) -> Dataset:
        return await self._run(self._flows.calls.show_one(Dataset, "datasets", id))

    async def model(self, id: str) -> Model:
        return await self._run(self._flows.calls.show_one(Model, "models", id))

    async def delete_dataset(self, id: str) -> None:
        await self._run(self._flows.calls.delete("datasets", id))

    async def delete_model(self, id: str) -> None:
        await self._run(self._flows.calls.delete("models", id))

    async def create_study(
        self,
        request: BaseModel | Mapping[str, Any] | None = None,
        /,
        *,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Study:
        return await self._run(self._flows.studies.create(request, fields, idempotency_key))

    async def validate_study(
        self, request: BaseModel | Mapping[str, Any] | None = None, /, **fields: Any
    ) -> StudyPreview:
        return await self._run(self._flows.studies.validate(request, fields))

    async def study(self, id: str) -> Study:
        return await self._run(self._flows.studies.get(id))

    def studies(self, limit: int | None = None) -> AsyncIterator[StudyHead]:
        return self._iterate(self._flows.studies.all(limit))

    async def study_table(self, id: str, format: str = "csv") -> str:
        return await self._run(self._flows.studies.table(id, format))

    async def pick(self, id: str, min_retention: float, *, sure: bool = False) -> PickList:
        return await self._run(self._flows.studies.pick(id, min_retention, sure))

    async def cancel_study(self, id: str) -> Study:
        return await self._run(self._flows.studies.cancel(id))

    async def resume_study(
        self, id: str, *, budget: Budget | Mapping[str, Any] | None = None, retry_failed: bool = False
    ) -> Study:
        asked = ResumeStudy.model_validate({"budget": budget, "retry_failed": retry_failed})
        return await self._run(self._flows.studies.resume(id, asked))

    async def add_cells(self, id: str, request: BaseModel | Mapping[str, Any] | None = None, /, **fields: Any) -> Study:
        return await self._run(self._flows.studies.add(id, request, fields))

    async def delete_study(self, id: str, *, jobs: bool = False) -> None:
        await self._run(self._flows.studies.delete(id, jobs))

    async def wait_study(self, id: str, timeout: float | None = None, *, on_change: OnChange | None = None) -> Study:
        return await self._run(self._flows.studies.wait(id, timeout, on_change))

    async def job_figure(self, id: str, name: str, *, format: str = "svg", theme: str | None = None) -> bytes:
        return await self._run(self._flows.studies.figure("jobs", id, name, format, {"theme": theme}))

    async def study_figure(
        self,
        id: str,
        name: str,
        *,
        format: str = "svg",
        theme: str | None = None,
        model: str | None = None,
        task: str | None = None,
    ) -> bytes:
        filter = {"theme": theme, "model": model, "task": task}
        return await self._run(self._flows.studies.figure("studies", id, name, format, filter))

    async def strategies(self) -> StrategyList:
        return await self._run(self._flows.calls.strategies())

    async def tasks(self) -> TaskList:
        return await self._run(self._flows.calls.tasks())

    async def architectures(self) -> ArchitectureList:
        return await self._run(self._flows.calls.architectures())

    async def limits(self) -> CeilingList:
        return await self._run(self._flows.calls.limits())

    async def workers(self) -> WorkerList:
        return await self._run(self._flows.calls.workers())

    async def _run(self, flow: Flow[T]) -> T:
        return await AsyncWire(self._http).run(flow)

    def _iterate(self, flow: Flow[None]) -> AsyncIterator[Any]:
        return AsyncWire(self._http).items(flow)
