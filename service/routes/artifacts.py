"""What a job made: its report, its files, and one tar of them all that was not built on request."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from api_schemas.errors import LayercutError
from api_schemas.jobs import FileInfo, FileList
from api_schemas.reports import Report
from service.callers import Own
from service.downloads import send_file
from service.negotiation import Accept, preferred
from service.openapi import problems
from service.state import GatewayState, State
from store.artifacts import Manifest, StoredFile
from store.jobs import JobStore

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["artifacts"])

REPORTS = {"application/json": "report.json", "text/markdown": "README.md"}

NOT_YET = problems("job_not_found", "result_not_ready", "expired")

_BINARY = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}

DOWNLOAD: dict[int | str, dict[str, Any]] = {
    200: {**_BINARY, "description": "the whole file; ETag and Repr-Digest are its sha256"},
    206: {**_BINARY, "description": "the one range that was asked for"},
    304: {"description": "If-None-Match has the file's ETag"},
    **problems("job_not_found", "file_not_found", "result_not_ready", "expired", "range_not_satisfiable"),
}


@router.head("/report", include_in_schema=False)
@router.get(
    "/report",
    responses={
        200: {"model": Report, "content": {"text/markdown": {"schema": {"type": "string"}}}},
        **NOT_YET,
        **problems("not_acceptable"),
    },
)
def get_report(job_id: str, request: Request, state: State, own: Own, accept: Accept = None) -> Response:
    """Everything measured before and after; as `text/markdown`, the model card."""
    name = REPORTS[preferred(accept, tuple(REPORTS))]
    prefix, manifest = _published(state, own, job_id)
    response = _send(request, state, prefix, manifest.find(name), attachment=False)
    response.headers["Vary"] = "Accept"
    return response


@router.get("/files", responses=NOT_YET)
def list_files(job_id: str, state: State, own: Own) -> FileList:
    """The files of the exported model, each with its size and sha256."""
    _, manifest = _published(state, own, job_id)
    address = f"/v1/jobs/{job_id}/files/"
    return FileList(data=[FileInfo(**file.model_dump(), url=address + quote(file.name)) for file in manifest.contents])


@router.head("/files/{name:path}", include_in_schema=False)
@router.get("/files/{name:path}", response_class=Response, responses=DOWNLOAD)
def get_file(job_id: str, name: str, request: Request, state: State, own: Own) -> Response:
    """One file. `Range`, `If-Range` and `If-None-Match` are honoured."""
    prefix, manifest = _published(state, own, job_id)
    return _send(request, state, prefix, manifest.find(name))


@router.head("/download", include_in_schema=False)
@router.get("/download", response_class=Response, responses=DOWNLOAD)
def download(job_id: str, request: Request, state: State, own: Own) -> Response:
    """All files as one tar. `curl -C - -o model.tar` goes on where it stopped."""
    prefix, manifest = _published(state, own, job_id)
    if manifest.archive is None:
        raise LayercutError("file_not_found", "the artifact has no archive; its files are at …/files")
    return _send(request, state, prefix, manifest.find(manifest.archive))


def _published(state: GatewayState, own: JobStore, job_id: str) -> tuple[str, Manifest]:
    """Where the job's artifact lies, and what is in it; raises ``result_not_ready`` where it has none."""
    prefix = own.artifact(job_id)
    if prefix is None:
        job = own.get(job_id)
        why = f": {job.error.message}" if job.error else ""
        ended = "will never have" if job.status.terminal else "does not yet have"
        raise LayercutError("result_not_ready", f"the job is {job.status} and {ended} a result{why}")
    return prefix, state.artifacts.manifest(prefix)


def _send(request: Request, state: GatewayState, prefix: str, file: StoredFile, *, attachment: bool = True) -> Response:
    return send_file(
        request,
        name=file.name,
        size=file.bytes,
        sha256=file.sha256,
        media_type=file.media_type,
        read=lambda start, end: state.artifacts.open_range(prefix, file.name, start, end),
        attachment=attachment,
    )
