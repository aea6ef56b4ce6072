"""What a job made: its report, its files, and one tar of them all, which is stored nowhere."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from api_schemas.errors import LayercutError
from api_schemas.jobs import FileInfo, FileList
from api_schemas.reports import Report
from service.callers import Own
from service.downloads import Representation, send
from service.negotiation import Accept, preferred
from service.openapi import problems
from service.sending import names_of
from service.state import GatewayState, State
from store.archives import FilePart, Piece
from store.jobs import JobStore
from store.manifests import Archive, Manifest, StoredFile, media_type
from store.reading import OpenFiles

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
    found = _Published(state, own, job_id)
    response = send(request, found.file(found.manifest.find(name)), attachment=False)
    response.headers["Vary"] = "Accept"
    return response


@router.get("/files", responses=NOT_YET)
def list_files(job_id: str, state: State, own: Own) -> FileList:
    """The files of the exported model, each with its size and sha256."""
    contents = _Published(state, own, job_id).manifest.contents
    address = f"/v1/jobs/{job_id}/files/"
    return FileList(data=[FileInfo(**file.model_dump(), url=address + quote(file.name)) for file in contents])


@router.head("/files/{name:path}", include_in_schema=False)
@router.get("/files/{name:path}", response_class=Response, responses={**DOWNLOAD, **_ELSEWHERE})
def get_file(job_id: str, name: str, request: Request, state: State, own: Own) -> Response:
    """One file. `Range`, `If-Range` and `If-None-Match` are honoured."""
    found = _Published(state, own, job_id)
    file = found.manifest.find(name)
    return send(request, found.file(file), hand_over=partial(found.hand_over, file, request.method))


@router.head("/download", include_in_schema=False)
@router.get("/download", response_class=Response, responses=DOWNLOAD)
def download(job_id: str, request: Request, state: State, own: Own) -> Response:
    """All files as one tar. `curl -C - -o model.tar` goes on where it stopped."""
    found = _Published(state, own, job_id)
    archive = found.manifest.archive
    if archive is None:
        raise LayercutError("file_not_found", "the artifact has no archive; its files are at …/files")
    if isinstance(archive, str):
        return send(request, found.file(found.manifest.find(archive)))
    return send(request, found.archive(archive))


class _Published:
    """The artifact of a job. Raises ``result_not_ready`` where it has none, ``storage_unavailable`` where a file of it
    is missing that should be there.
    """

    def __init__(self, state: GatewayState, own: JobStore, job_id: str) -> None:
        self._state, self._own, self._job_id = state, own, job_id
        self._prefix = _prefix(own, job_id)
        try:
            self.manifest: Manifest = state.artifacts.manifest(self._prefix)
        except LayercutError as error:
            raise self._missing(error) from None

    def file(self, file: StoredFile) -> Representation:
        def pieces(start: int, end: int) -> list[Piece]:
            return [FilePart(file.name, start, end - start)]

        return Representation(file.name, file.bytes, file.sha256, file.media_type, pieces, self._open)

    def archive(self, archive: Archive) -> Representation:
        layout = self.manifest.layout(archive.top)
        return Representation(
            archive.name, archive.bytes, archive.sha256, media_type(archive.name),
            lambda start, end: list(layout.pieces(start, end)), self._open,
        )  # fmt: skip

    def hand_over(self, file: StoredFile, method: str, headers: dict[str, str]) -> Response | None:
        """The answer that has the proxy or the object store send the file; None where we do."""
        settings, artifacts = self._state.settings, self._state.artifacts
        if settings.accel_redirect and artifacts.is_folder:
            self._require(file)
            address = f"{settings.accel_redirect.rstrip('/')}/{quote(f'{self._prefix}/{file.name}')}"
            return Response(headers={**headers, "X-Accel-Redirect": address}, media_type=file.media_type)
        if settings.presigned_seconds and method == "GET":
            signed = artifacts.presigned(self._prefix, file.name, settings.presigned_seconds)
            if signed is None:
                return None
            self._require(file)
            # Whoever has the address has the file: no cache may keep it.
            return RedirectResponse(signed, headers={"Cache-Control": "private, no-store"})
        return None

    def _require(self, file: StoredFile) -> None:
        """Raise where it is not there: neither nginx nor an object store would say what is wrong."""
        self._open([FilePart(file.name, 0, 0)]).close()

    def _open(self, pieces: list[Piece]) -> OpenFiles:
        try:
            return self._state.artifacts.open_files(self._prefix, names_of(pieces))
        except LayercutError as error:
            raise self._missing(error) from None

    def _missing(self, error: LayercutError) -> LayercutError:
        """What to say of a file that is not there: what became of the job, where it was deleted meanwhile."""
        if _prefix(self._own, self._job_id) != self._prefix:
            return error
        return LayercutError("storage_unavailable", f"a file of this job's artifact cannot be found: {error.message}")


def _prefix(own: JobStore, job_id: str) -> str:
    """Where the job's artifact lies; raises ``result_not_ready`` where it has none."""
    prefix = own.artifact(job_id)
    if prefix is None:
        job = own.get(job_id)
        why = f": {job.error.message}" if job.error else ""
        ended = "will never have" if job.status.terminal else "does not yet have"
        raise LayercutError("result_not_ready", f"the job is {job.status} and {ended} a result{why}")
    return prefix
