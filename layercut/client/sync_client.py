"""`Client`: a layercut service, to programs that wait for its answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from layercut.client.calls import ANSWER_SECONDS
from layercut.client.downloading import OnProgress
from layercut.client.flows import Flows
from layercut.client.settings import Place
from layercut.client.steps import Flow
from layercut.client.studies import OnChange
from layercut.client.wire import Wire

T = TypeVar("T")


class Client:
    """A layercut service. Each call returns models of ``api_schemas``, and raises what ``layercut.client`` lists.

    ``url`` and ``api_key`` are read from ``LAYERCUT_URL`` and ``LAYERCUT_API_KEY`` where they are not given. What
    passes by itself (a broken connection, 429, 503) is tried again for ``retry_seconds``. ``timeout``: seconds that an
    answer may take. Threads may share one.
    """

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
        self._http = httpx.Client(**options)
        self._flows = Flows(retry_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self._place}>"

    def close(self) -> None:
        self._http.close()

    def submit(
        self,
        request: BaseModel | Mapping[str, Any] | None = None,
        /,
        *,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Job:
        """Ask for a job: a ``JobRequest``, a mapping or its fields, or fields over either. It is one job, however often
        it had to be sent. ``idempotency_key``: so that it is one over several calls, too.
        """
        return self._run(self._flows.calls.submit(request, fields, idempotency_key))

    def validate(self, request: BaseModel | Mapping[str, Any] | None = None, /, **fields: Any) -> JobPreview:
        """What ``submit`` would make, and what it would take. Nothing is stored."""
        return self._run(self._flows.calls.validate(request, fields))

    def plan(self, request: BaseModel | Mapping[str, Any] | None = None, /, **fields: Any) -> PlanAnswer:
        """Which layers would go, and what that saves."""
        return self._run(self._flows.calls.plan(request, fields))

    def get(self, id: str) -> Job:
        return self._run(self._flows.calls.get(id))

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
    ) -> Iterator[Job]:
        """Your jobs, newest first; ``limit`` of them at most, whatever the pages."""
        filter = {
            "status": status,
            "task": task,
            "model": model,
            "metadata": metadata,
            "created_after": created_after,
            "created_before": created_before,
        }
        return self._iterate(self._flows.calls.jobs(filter, limit))

    def wait(self, id: str, timeout: float | None = None) -> Job:
        """The job once it has ended, however. Raises ``WaitTimeout`` when it has not after ``timeout`` seconds."""
        return self._run(self._flows.watching.wait(id, timeout))

    def events(self, id: str, after: int = 0, *, timeout: float | None = None) -> Iterator[Event]:
        """What happened after event number ``after``, and then what happens, to the job's last event. Connections that
        break are made again; each event comes once. Raises ``WaitTimeout`` as ``wait`` does.
        """
        return self._iterate(self._flows.watching.events(id, after, timeout))

    def logs(self, id: str, offset: int = 0, *, follow: bool = False) -> Iterator[LogPiece]:
        """What the job's runners said, from ``offset`` (bytes) on; with ``follow``, to the job's end."""
        watching = self._flows.watching
        return self._iterate((watching.log if follow else watching.log_so_far)(id, offset))

    def cancel(self, id: str) -> Job:
        return self._run(self._flows.calls.cancel(id))

    def cancel_all(self, **filter: Any) -> JobsCancelled:
        """Cancel all jobs that match (``status``, ``task``, ``model``, ``metadata``, ``ids``, …), 1000 a call."""
        return self._run(self._flows.calls.cancel_all(filter))

    def retry(self, id: str, *, idempotency_key: str | None = None) -> Job:
        return self._run(self._flows.calls.retry(id, idempotency_key))

    def delete(self, id: str) -> None:
        self._run(self._flows.calls.delete("jobs", id))

    def report(self, id: str) -> Report:
        return self._run(self._flows.calls.report(id))

    def card(self, id: str) -> str:
        """The model card, as Markdown."""
        return self._run(self._flows.calls.card(id))

    def files(self, id: str) -> Sequence[FileInfo]:
        return self._run(self._flows.calls.files(id))

    def download(self, id: str, folder: str | Path, *, on_progress: OnProgress | None = None) -> Path:
        """The job's files, in ``folder``, which is there when all of them are, and right. Called again, it goes on
        where it was left. ``on_progress`` is told a file's name, the bytes that are there, and all that it has.
        """
        return self._run(self._flows.downloading.download(id, Path(folder), on_progress))

    def upload_dataset(
        self,
        *paths: str | Path,
        name: str | None = None,
        resume: str | None = None,
        idempotency_key: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Dataset:
        """Send files of data; a request names them by the answer's ``source``. ``resume``: the id of an upload of the
        same files that was not ended. With an ``idempotency_key`` of your own, the same files are one upload, in two
        calls too.
        """
        flow = self._flows.uploading.dataset(
            paths, name=name, resume=resume, key=idempotency_key, on_progress=on_progress
        )
        return self._run(flow)

    def upload_model(
        self,
        folder: str | Path,
        *,
        name: str | None = None,
        resume: str | None = None,
        idempotency_key: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Model:
        """Send a model's folder: safetensors, configuration and tokenizer, and nothing else that is in it."""
        flow = self._flows.uploading.model(
            folder, name=name, resume=resume, key=idempotency_key, on_progress=on_progress
        )
        return self._run(flow)

    def datasets(self, limit: int | None = None) -> Iterator[Dataset]:
        return self._iterate(self._flows.calls.pages(DatasetList, "datasets", {}, limit))

    def models(self, limit: int | None = None) -> Iterator[Model]:
        return self._iterate(self._flows.calls.pages(ModelList, "models", {}, limit))

    def dataset(self, id: str) -> Dataset:
        return self._run(self._flows.calls.show_one(Dataset, "datasets", id))

    def model(self, id: str) -> Model:
        return self._run(self._flows.calls.show_one(Model, "models", id))

    def delete_dataset(self, id: str) -> None:
        self._run(self._flows.calls.delete("datasets", id))

    def delete_model(self, id: str) -> None:
        self._run(self._flows.calls.delete("models", id))

    def create_study(
        self,
        request: BaseModel | Mapping[str, Any] | None = None,
        /,
        *,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Study:
        """Ask for a study: a ``StudyRequest``, a mapping or its fields, as ``submit`` takes a job."""
        return self._run(self._flows.studies.create(request, fields, idempotency_key))

    def validate_study(self, request: BaseModel | Mapping[str, Any] | None = None, /, **fields: Any) -> StudyPreview:
        """How many cells it has, which are known and which cannot be. Nothing is stored."""
        return self._run(self._flows.studies.validate(request, fields))

    def study(self, id: str) -> Study:
        """How far it is, and its table."""
        return self._run(self._flows.studies.get(id))

    def studies(self, limit: int | None = None) -> Iterator[StudyHead]:
        return self._iterate(self._flows.studies.all(limit))

    def study_table(self, id: str, format: str = "csv") -> str:
        """Its table as ``csv`` or ``markdown``."""
        return self._run(self._flows.studies.table(id, format))

    def pick(self, id: str, min_retention: float, *, sure: bool = False) -> PickList:
        """Which job to download, of each model and task. ``sure``: the lower end of the interval keeps it, too."""
        return self._run(self._flows.studies.pick(id, min_retention, sure))

    def cancel_study(self, id: str) -> Study:
        return self._run(self._flows.studies.cancel(id))

    def resume_study(
        self, id: str, *, budget: Budget | Mapping[str, Any] | None = None, retry_failed: bool = False
    ) -> Study:
        """Go on with one that was cancelled or is paused; ``budget`` in place of the one that it has."""
        asked = ResumeStudy.model_validate({"budget": budget, "retry_failed": retry_failed})
        return self._run(self._flows.studies.resume(id, asked))

    def add_cells(self, id: str, request: BaseModel | Mapping[str, Any] | None = None, /, **fields: Any) -> Study:
        """A further grid; cells that the study has change nothing."""
        return self._run(self._flows.studies.add(id, request, fields))

    def delete_study(self, id: str, *, jobs: bool = False) -> None:
        """With ``jobs``, its jobs and their files too."""
        self._run(self._flows.studies.delete(id, jobs))

    def wait_study(self, id: str, timeout: float | None = None, *, on_change: OnChange | None = None) -> Study:
        """The study once it is finished, cancelled or paused. Raises ``StudyTimeout`` when it is not after ``timeout``
        seconds. ``on_change`` is told the study whenever it has moved.
        """
        return self._run(self._flows.studies.wait(id, timeout, on_change))

    def job_figure(self, id: str, name: str, *, format: str = "svg", theme: str | None = None) -> bytes:
        """A picture of a job, as ``svg`` or ``png``; ``theme``: light, dark or auto."""
        return self._run(self._flows.studies.figure("jobs", id, name, format, {"theme": theme}))

    def study_figure(
        self,
        id: str,
        name: str,
        *,
        format: str = "svg",
        theme: str | None = None,
        model: str | None = None,
        task: str | None = None,
    ) -> bytes:
        """A picture of a study; of several models or tasks, of that ``model`` and ``task``."""
        filter = {"theme": theme, "model": model, "task": task}
        return self._run(self._flows.studies.figure("studies", id, name, format, filter))

    def strategies(self) -> StrategyList:
        return self._run(self._flows.calls.strategies())

    def tasks(self) -> TaskList:
        return self._run(self._flows.calls.tasks())

    def architectures(self) -> ArchitectureList:
        return self._run(self._flows.calls.architectures())

    def limits(self) -> CeilingList:
        return self._run(self._flows.calls.limits())

    def workers(self) -> WorkerList:
        return self._run(self._flows.calls.workers())

    def _run(self, flow: Flow[T]) -> T:
        return Wire(self._http).run(flow)

    def _iterate(self, flow: Flow[None]) -> Iterator[Any]:
        return Wire(self._http).items(flow)
