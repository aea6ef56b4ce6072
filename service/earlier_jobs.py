"""What a request names of earlier jobs: found among the tenant's own, and pinned to the files that are there now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from pydantic import ValidationError

from api_schemas.architectures import ModelFacts
from api_schemas.delivered import PREFIX, Delivered, Start, job_of
from api_schemas.errors import LayercutError
from api_schemas.further import check_start
from api_schemas.jobs import Job
from api_schemas.reports import Report
from api_schemas.requests import JobRequest, ModelRef, PlanRequest
from api_schemas.task_spec import TaskSpec
from service.settings import GatewaySettings
from sources.stored_files import StoredFile, StoredFiles
from sources.stored_model import check_has_model, stored_facts
from sources.strict_json import limit_of
from store.artifacts import ArtifactStore
from store.jobs import JobStore

REPORT = "report.json"

#: What two models that are the same have alike, wherever they lie.
SHAPE = ("architecture", "layers", "hidden_size", "vocabulary", "parameters", "bytes", "dtype")


class EarlierJobs:
    """Those of one tenant. What is raised blames the field of the request that names the job: ``job_not_found``, also
    for another tenant's, ``result_not_ready``, ``expired``, ``model_invalid`` for files that are broken, and
    ``validation_failed`` for a job that cannot serve.
    """

    def __init__(self, own: JobStore, artifacts: ArtifactStore, settings: GatewaySettings) -> None:
        self._own, self._artifacts, self._settings = own, artifacts, settings

    def model(self, ref: ModelRef, *, modules: bool) -> Delivered:
        """What ``ref``, a ``job:<id>``, is now."""
        job_id = ref.job_id
        assert job_id is not None
        with blamed("/model"):
            if ref.revision is not None:
                raise LayercutError("validation_failed", "a revision is for hub models; what a job delivered has none")
            files, pinned = self._files(job_id)
            facts = stored_facts(files, modules=modules, most=self._settings.max_model_bytes)
        return Delivered(**pinned, model=facts)

    def start(self, request: JobRequest | PlanRequest, model: ModelFacts) -> Start | None:
        """What ``recovery.from`` names; None where it names nothing. ``model`` is that of the request."""
        if request.recovery.from_ is None:
            return None
        job_id = job_of(request.recovery.from_)
        with blamed("/recovery/from"):
            files, pinned = self._files(job_id)
            check_has_model(files)
            job, report = self._own.get(job_id), _report(job_id, files)
            _check_kind(job, request)
            _check_same(request.model, model, job, report)
            facts = stored_facts(files, modules=request.keeps_modules, most=self._settings.max_model_bytes)
            layers = report.layers
            start = Start(**pinned, model=facts, total=layers.total, kept=layers.kept, source=report.source_sha256)
            check_start(model, start)
        return start

    def _files(self, job_id: str) -> tuple[StoredFiles, dict[str, str]]:
        """The files of the job's artifact, and what pins them."""
        prefix = self._own.delivered(job_id)
        try:
            manifest, sha256 = self._artifacts.pinned_manifest(prefix)
        except LayercutError as error:
            raise self._missing(error, job_id) from None
        except ValueError:
            raise LayercutError(
                "model_invalid",
                f"the list of the files of {job_id} cannot be read: it was changed or broken where it is kept. Run that"
                " job again, and name the new one",
            ) from None
        files = {file.name: StoredFile(file.bytes, file.sha256) for file in manifest.contents}
        found = StoredFiles(f"{PREFIX}{job_id}", files, partial(self._read, job_id, prefix))
        return found, {"job": job_id, "artifact": prefix, "manifest": sha256, "sha256": found.sha256}

    def _read(self, job_id: str, prefix: str, name: str, start: int, end: int) -> Iterable[bytes]:
        try:
            return self._artifacts.open_range(prefix, name, start, end)
        except LayercutError as error:
            raise self._missing(error, job_id) from None

    def _missing(self, error: LayercutError, job_id: str) -> LayercutError:
        """Where files are not there: raises what became of the job, if it was deleted meanwhile. Where they should lie
        is for nobody to know.
        """
        if error.code != "file_not_found":
            return error
        self._own.delivered(job_id)
        return LayercutError(
            "expired", f"files of {job_id} are not where they were kept: run that job again, and name the new one"
        )


@contextmanager
def blamed(param: str) -> Iterator[None]:
    """What is wrong with what is named is the fault of the field that names it, whatever it was the fault of there."""
    try:
        yield
    except LayercutError as error:
        raise LayercutError(error.code, error.message, param=param) from None


def _report(job_id: str, files: StoredFiles) -> Report:
    try:
        return Report.model_validate_json(files.read(REPORT, limit_of(REPORT)))
    except (LayercutError, ValidationError):
        raise LayercutError(
            "validation_failed", f"the report of {job_id} cannot be read: another version of layercut wrote it"
        ) from None


def _check_kind(job: Job, request: JobRequest | PlanRequest) -> None:
    """A plan says nothing of the task where it is asked for without one."""
    if isinstance(request, PlanRequest) and not request.task.trains:
        return
    if job.resolved is None:
        raise LayercutError("validation_failed", f"{job.id} was run by another version of layercut")
    theirs, ours = _kind(job.resolved.task), _kind(request.task)
    if theirs != ours:
        raise LayercutError(
            "validation_failed",
            f"{job.id} made a model for task {theirs}, and this is for task {ours}: to use it for something else,"
            f" give model: job:{job.id}",
        )


def _kind(task: TaskSpec) -> str:
    return task.task_kind.name if task.task_kind else "none"


def _check_same(ref: ModelRef, model: ModelFacts, job: Job, report: Report) -> None:
    theirs = report.model
    if not is_same(ref, model, report):
        at = f" at {theirs.revision}" if theirs.revision else ""
        raise LayercutError(
            "validation_failed",
            f"{job.id} pruned another model, {theirs.id}{at}: give that as model, or model: job:{job.id} to go on from"
            " what it delivered",
        )


def is_same(ref: ModelRef, model: ModelFacts, report: Report) -> bool:
    """Whether ``model``, which ``ref`` names, is the one that the job of ``report`` began with: the same commit, under
    whatever name the hub has it, or as far as can be seen without reading all weights, the same content; what weights
    say, the worker compares.
    """
    theirs = report.model
    if model.revision is not None and theirs.revision is not None:
        return model.revision == theirs.revision
    alike = all(getattr(model, name) == getattr(theirs, name) for name in SHAPE)
    return alike and (ref.id == theirs.id or report.source_sha256 is not None)
