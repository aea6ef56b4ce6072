"""The list of an artifact's files, which is written last: where it exists, the artifact is whole."""

from __future__ import annotations

import mimetypes
from pathlib import PurePosixPath

from pydantic import BaseModel, Field

from api_schemas.errors import LayercutError
from store.archives import TarLayout

MANIFEST = "manifest.json"
#: Ten thousand files of an artifact take half of it.
MAX_MANIFEST_BYTES = 4 << 20

_MEDIA_TYPES = {
    ".safetensors": "application/octet-stream",
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".tar": "application/x-tar",
    "": "text/plain; charset=utf-8",
}


class StoredFile(BaseModel):
    """One file of an artifact; ``name`` is its path under the prefix, with slashes."""

    name: str
    bytes: int
    sha256: str
    media_type: str


class Archive(BaseModel):
    """The tar of all files, in the order of the manifest, in the folder ``top``. It is stored nowhere: what it is
    made of are the files and ``TarLayout``. ``sha256`` is that of the whole tar.
    """

    name: str
    top: str
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """A manifest that exists means an artifact that is whole."""

    files: list[StoredFile]
    archive: Archive | str | None = Field(
        default=None, description="a name, of older artifacts: the one of `files` that is a tar of all the others"
    )

    def find(self, name: str) -> StoredFile:
        """The file of that name; raises ``file_not_found`` with the names that exist."""
        for file in self.files:
            if file.name == name:
                return file
        known = ", ".join(file.name for file in self.files)
        raise LayercutError("file_not_found", f"the artifact has no file {name[:200]!r}; it has {known}")

    @property
    def contents(self) -> list[StoredFile]:
        """The files without the archive."""
        return [file for file in self.files if file.name != self.archive]

    def layout(self, top: str) -> TarLayout:
        """What the tar of the files is made of."""
        return TarLayout(tuple((file.name, file.bytes) for file in self.files), top)


def media_type(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return _MEDIA_TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
