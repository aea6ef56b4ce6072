"""The artifact of a job, as what is sent over HTTP: by us, by the proxy before us, or by the object store behind us."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import Response
from fastapi.responses import RedirectResponse

from api_schemas.errors import LayercutError
from service.downloads import Representation
from service.sending import names_of
from service.state import GatewayState
from store.archives import FilePart, Piece
from store.jobs import JobStore
from store.manifests import Archive, Manifest, StoredFile, media_type
from store.reading import OpenFiles


class Published:
    """The artifact of a job. Raises ``result_not_ready`` where it has none, ``storage_unavailable`` where a file of it
    is missing that should be there.
    """

    def __init__(self, state: GatewayState, own: JobStore, job_id: str) -> None:
        self._state, self._own, self._job_id = state, own, job_id
        self._prefix = _prefix(own, job_id)
        #: The list of its files, and the sha256 of that, which names the artifact.
        self.manifest: Manifest
        self.sha256: str
        try:
            self.manifest, self.sha256 = state.artifacts.pinned_manifest(self._prefix)
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

    def start(self, file: StoredFile, most: int) -> bytes:
        """What the file begins with, at most so many bytes."""
        try:
            return b"".join(self._state.artifacts.open_range(self._prefix, file.name, 0, min(most, file.bytes)))
        except LayercutError as error:
            raise self._missing(error) from None

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
