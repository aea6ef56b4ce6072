"""What a request names of the tenant's uploads: their files, where they are kept."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from api_schemas.errors import LayercutError
from api_schemas.source_names import upload_of
from api_schemas.uploads import PREFIX, UploadKind
from sources.stored_files import StoredFile, StoredFiles
from store.artifacts import ArtifactStore
from store.stored_uploads import ReadyUpload, UploadStore


class NamedUploads:
    """Those of one tenant. Raises ``upload_not_found``, also for another's, ``upload_not_ready`` and ``expired``."""

    def __init__(self, own: UploadStore, artifacts: ArtifactStore) -> None:
        self._own, self._artifacts = own, artifacts

    def model(self, name: str, param: str) -> StoredFiles:
        """The files of an uploaded model."""
        ready, file = self._ready(name, UploadKind.MODEL, param)
        if file is not None:
            raise LayercutError("model_invalid", f"a model is all files of an upload: {PREFIX}{ready.id}", param=param)
        return self._files(ready, None)

    def data(self, name: str, param: str) -> StoredFiles:
        """Those of an uploaded dataset, or the one of them that is named."""
        ready, file = self._ready(name, UploadKind.DATASET, param)
        names = [one.name for one in ready.files]
        if file is not None and file not in names:
            text = f"{PREFIX}{ready.id} has no file {file!r}; it has {', '.join(names[:20])}"
            raise LayercutError("dataset_not_found", text, param=param)
        return self._files(ready, file)

    def _ready(self, name: str, kind: UploadKind, param: str) -> tuple[ReadyUpload, str | None]:
        found = upload_of(name)
        if found is None:
            text = f"{name[:100]!r} names no upload: it is {PREFIX}upl_… as POST /v1/{kind}s answers it"
            raise LayercutError("upload_not_found", text, param=param)
        return self._own.ready(found[0], kind), found[1]

    def _files(self, ready: ReadyUpload, only: str | None) -> StoredFiles:
        files = {file.name: StoredFile(file.bytes, file.sha256) for file in ready.files if only in (None, file.name)}
        return StoredFiles(f"{PREFIX}{ready.id}", files, partial(self._read, ready), alone=len(files) == 1)

    def _read(self, ready: ReadyUpload, name: str, start: int, end: int) -> Iterable[bytes]:
        try:
            return self._artifacts.open_range(ready.prefix, name, start, end)
        except LayercutError as error:
            if error.code != "file_not_found":
                raise
            text = f"files of {ready.id} are not where they were kept: upload it again, and name the new one"
            raise LayercutError("expired", text) from None
