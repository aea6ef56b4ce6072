"""What a job made: its report, its files, and one tar of them all, which is stored nowhere."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from api_schemas.errors import LayercutError
from api_schemas.jobs import FileInfo, FileList
from api_schemas.reports import Report
from service.callers import Own
from service.downloads import send
from service.edge.root_path import address
from service.negotiation import Accept, preferred
from service.openapi import problems
from service.published import Published
from service.state import State

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["artifacts"])

REPORTS = {"application/json": "report.json", "text/markdown": "README.md"}

NOT_YET = problems("job_not_found", "result_not_ready", "expired", "storage_unavailable")

_BINARY = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}

_ELSEWHERE: dict[int | str, dict[str, Any]] = {
    307: {"description": "the object store sends the file, at the address in Location, for a short time"}
}

DOWNLOAD: dict[int | str, dict[str, Any]] = {
    200: {**_BINARY, "description": "the whole file; ETag and Repr-Digest are its sha256"},
    206: {**_BINARY, "description": "the one range that was asked for"},
    304: {"description": "If-None-Match has the file's ETag"},
    **problems(
        "job_not_found", "file_not_found", "result_not_ready", "expired", "range_not_satisfiable", "storage_unavailable"
    ),
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
    found = Published(state, own, job_id)
    response = send(request, found.file(found.manifest.find(name)), attachment=False)
    response.headers["Vary"] = "Accept"
    return response


@router.get("/files", responses=NOT_YET)
def list_files(job_id: str, state: State, own: Own) -> FileList:
    """The files of the exported model, each with its size and sha256."""
    contents = Published(state, own, job_id).manifest.contents
    folder = address(f"/v1/jobs/{job_id}/files/")
    return FileList(data=[FileInfo(**file.model_dump(), url=folder + quote(file.name)) for file in contents])


@router.head("/files/{name:path}", include_in_schema=False)
@router.get("/files/{name:path}", response_class=Response, responses={**DOWNLOAD, **_ELSEWHERE})
def get_file(job_id: str, name: str, request: Request, state: State, own: Own) -> Response:
    """One file. `Range`, `If-Range` and `If-None-Match` are honoured."""
    found = Published(state, own, job_id)
    file = found.manifest.find(name)
    return send(request, found.file(file), hand_over=partial(found.hand_over, file, request.method))


@router.head("/download", include_in_schema=False)
@router.get("/download", response_class=Response, responses=DOWNLOAD)
def download(job_id: str, request: Request, state: State, own: Own) -> Response:
    """All files as one tar. `curl -C - -o model.tar` goes on where it stopped."""
    found = Published(state, own, job_id)
    archive = found.manifest.archive
    if archive is None:
        raise LayercutError("file_not_found", "the artifact has no archive; its files are at …/files")
    if isinstance(archive, str):
        return send(request, found.file(found.manifest.find(archive)))
    return send(request, found.archive(archive))
