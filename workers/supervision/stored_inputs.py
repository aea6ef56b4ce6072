"""What jobs read from stores, as it was pinned: models of earlier jobs, uploads, and objects."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from api_schemas.delivered import Delivered
from api_schemas.errors import LayercutError
from api_schemas.pinned import PinnedSource
from api_schemas.source_names import is_object, upload_of
from api_schemas.uploads import PREFIX
from sources.objects.buckets import Buckets
from sources.objects.pinned import pinned_files, pinned_objects
from sources.settings import SourceSettings
from sources.stored_files import StoredFile, StoredFiles
from store.artifacts import ArtifactStore
from store.object_clients import open_store
from store.object_errors import fault_of
from store.upload_rows import prefix_of


class StoreInputs:
    """The ``StoredInputs`` of a worker. Only addresses that ``settings`` allow are read."""

    def __init__(self, artifacts: ArtifactStore, settings: SourceSettings) -> None:
        self._artifacts, self._settings = artifacts, settings
        self._buckets = Buckets(partial(open_store, seconds=None), fault_of, waits=True)

    def delivered(self, pinned: Delivered) -> StoredFiles:
        """Raises ``expired`` where they are gone, and ``model_invalid`` where their list is another."""
        try:
            manifest, sha256 = self._artifacts.pinned_manifest(pinned.artifact)
        except LayercutError as error:
            raise _gone(error, pinned.job) from None
        except ValueError:
            sha256 = ""  # what lies there is no list at all
        if sha256 != pinned.manifest:
            raise LayercutError(
                "model_invalid",
                f"the list of the files of {pinned.job} is not the one that was there when this job was accepted: it"
                " was changed or broken where it is kept. Run that job again, and name the new one",
            )
        files = {file.name: StoredFile(file.bytes, file.sha256) for file in manifest.contents}
        return StoredFiles(pinned.ref, files, partial(self._read, pinned.artifact, pinned.job))

    def source(self, pinned: PinnedSource) -> StoredFiles:
        """Raises ``expired`` where an upload is gone, and of objects as ``pinned_objects`` does."""
        if is_object(pinned.source):
            return pinned_objects(self._buckets, pinned, self._settings)
        upload = upload_of(pinned.source)
        assert upload is not None
        start = "" if pinned.is_model else f"{PREFIX}{upload[0]}/"
        return StoredFiles(pinned.source, pinned_files(pinned), partial(self._read_upload, upload[0], start))

    def _read_upload(self, upload_id: str, start: str, name: str, first: int, end: int) -> Iterable[bytes]:
        return self._read(prefix_of(upload_id), f"upload {upload_id}", name.removeprefix(start), first, end)

    def _read(self, prefix: str, whose: str, name: str, start: int, end: int) -> Iterable[bytes]:
        try:
            return self._artifacts.open_range(prefix, name, start, end)
        except LayercutError as error:
            raise _gone(error, whose) from None


def _gone(error: LayercutError, whose: str) -> LayercutError:
    if error.code != "file_not_found":
        return error
    return LayercutError(
        "expired", f"the files of {whose} are gone, though they are kept while a job needs them: {error.message}"
    )
