"""A service in this process: jobs are accepted as the gateway does, staged and published as a worker does.

Only the runner is none of its own: the pipeline runs here.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from api_schemas.errors import LayercutError
from api_schemas.events import EventType, NewEvent
from api_schemas.jobs import Job
from api_schemas.plans import Plan
from api_schemas.reports import Report
from api_schemas.requests import JobRequest, PlanRequest
from api_schemas.uploads import UploadKind
from service.admission import admit, plan
from service.earlier_jobs import EarlierJobs
from service.known_importance import KnownImportance
from service.named_sources import NamedSources
from service.settings import GatewaySettings
from service.uploads.named import NamedUploads
from sources.fetched import FetchedFiles
from sources.fingerprint import FileHashes
from sources.objects.buckets import Buckets
from store.artifacts import ArtifactStore
from store.cache import CacheStore
from store.database import open_engine
from store.jobs import Claim, JobStore
from store.object_clients import open_store
from store.object_errors import fault_of
from store.stored_uploads import UploadStore
from tests.support.migrated_database import migrated_sqlite
from tests.support.uploaded import uploaded
from workers.cache.folder import FolderCache
from workers.pipeline import run_pipeline
from workers.settings import WorkerSettings
from workers.supervision.exported_files import check_exported
from workers.supervision.input_staging import stage_inputs
from workers.supervision.stored_inputs import StoreInputs

QUICK = {"latency": {"batch_sizes": [1], "sequence_lengths": [16]}}


class Service:
    """All that it keeps is in ``folder``, where models and tables are too; these may also lie below ``urls``."""

    def __init__(self, folder: Path, urls: Sequence[str] = ()) -> None:
        roots = {"model_roots": [folder], "data_roots": [folder], "model_urls": urls, "data_urls": urls}
        self.settings = GatewaySettings(data_dir=folder / "data", database_url="", artifacts_url="", **roots)
        self.worker = WorkerSettings(data_dir=folder / "data", device="cpu", **roots)
        self.engine = open_engine(migrated_sqlite(self.settings.database_url))
        self.store, self.artifacts = JobStore(self.engine), ArtifactStore(self.settings.artifacts_url)
        self.cache = FolderCache(folder / "cache", 2**30)
        self.uploads = UploadStore(self.engine)
        self.buckets = Buckets(partial(open_store, seconds=self.settings.source_seconds), fault_of)
        self.fetched = FetchedFiles(self.settings.data_dir / "fetched", self.settings.fetched_bytes)
        self.scratch = folder / "scratch"
        self.events: list[NewEvent] = []

    def post(self, body: dict[str, Any]) -> Job:
        """Raises what the gateway would answer."""
        sent = {"evaluation": QUICK, **body}
        request = JobRequest.model_validate(sent)
        with self.named() as named:
            return self.store.create(request, sent, admit(request, self.settings, named))

    def named(self) -> NamedSources:
        earlier = EarlierJobs(self.store, self.artifacts, self.settings)
        uploads = NamedUploads(self.uploads, self.artifacts)
        return NamedSources(self.settings, earlier, uploads, self.buckets, self.fetched)

    def upload(self, folder: Path, kind: UploadKind) -> str:
        """The files of ``folder`` as an upload; how a request names it."""
        return uploaded(self.uploads, self.artifacts, folder, kind)

    def plan(self, body: dict[str, Any]) -> Plan:
        hashes = FileHashes(self.settings.data_dir / "hashes")
        known = KnownImportance(CacheStore(self.engine), self.artifacts, hashes)
        with self.named() as named:
            return plan(PlanRequest.model_validate(body), self.settings, known, named).plan

    def work(self) -> Job:
        """One attempt at the next job. Raises what would be its error."""
        claim = self.store.claim("here")
        assert claim is not None
        shutil.rmtree(self.scratch, ignore_errors=True)
        inputs, out = self.scratch / "inputs", self.scratch / "out"
        for folder in (inputs, out):
            folder.mkdir(parents=True)
        self.events = []
        stage = stage_inputs(self.worker, another_user=False, stored=StoreInputs(self.artifacts, self.worker))
        try:
            staged = stage(claim, inputs, lambda: False)
            # What is handed over open has its number in a runner alone.
            assert not staged.handles
            self._run(claim, staged.inputs, out)
        except LayercutError:
            self.store.release(claim.lease, "failed here")
            raise
        return self._publish(claim, out)

    def _run(self, claim: Claim, inputs: Any, out: Path) -> None:
        run_pipeline(
            claim.request, resolved=claim.resolved, job_id=claim.lease.job_id, out=out,
            settings=self.worker.model_copy(update={"inputs": inputs, "data_dir": out}), tell=self.events.append,
            shared=self.cache, attempt=claim.lease.attempt, checkpoints=out / "checkpoints",
        )  # fmt: skip

    def _publish(self, claim: Claim, out: Path) -> Job:
        folder, last = out / "artifact", self.events[-1]
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        names.remove("SHA256SUMS")
        check_exported(folder, names, has_model=not claim.request.evaluates_only)
        assert last.type == EventType.SUCCEEDED
        self.artifacts.publish(claim.lease.prefix, folder, "layercut")
        return self.store.finish(claim.lease, last, claim.lease.prefix, 1)

    def done(self, **body: Any) -> Job:
        """A job that is posted and carried out."""
        posted = self.post(body)
        found = self.work()
        assert found.id == posted.id
        return found

    def report(self, job: Job) -> Report:
        return Report.model_validate_json(self.file(job, "report.json"))

    def file(self, job: Job, name: str) -> bytes:
        prefix = self.store.delivered(job.id)
        size = self.artifacts.manifest(prefix).find(name).bytes
        return b"".join(self.artifacts.open_range(prefix, name, 0, size))

    def files(self, job: Job) -> list[str]:
        return sorted(file.name for file in self.artifacts.manifest(self.store.delivered(job.id)).files)

    def path(self, job: Job, name: str) -> Path:
        """Where a stored file lies."""
        return self.settings.data_dir / "artifacts" / self.store.delivered(job.id) / name

    def stages(self, *, skipped: bool) -> list[str]:
        told = [event.data for event in self.events if event.type == EventType.STAGE]
        return [data.stage for data in told if data.skipped is skipped]
