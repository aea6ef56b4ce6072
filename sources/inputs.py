"""What a runner reads: files that were staged for it in one folder, found there by the names they were asked for by."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

#: The number that the first descriptor has in the runner; the others follow it.
FIRST_DESCRIPTOR = 500


class Inputs(BaseModel):
    """The staged inputs of one attempt, in ``folder``: ``model/``, ``from/`` (what an earlier job delivered),
    ``files/`` (data, by the path asked for), ``glue/``.

    ``commit`` is that of a hub's model, ``glue_commit`` of GLUE from the hub. ``sha256`` is of the content of files, by
    their path in ``folder``: of all that were copied, and of weights where the job is kept by them. ``descriptors`` are
    files that were not copied: links to descriptors which the runner is handed, in this order.
    """

    model_config = ConfigDict(frozen=True)

    folder: Path
    commit: str | None = None
    glue_commit: str | None = None
    sha256: dict[str, str] = {}
    descriptors: list[str] = []

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def start(self) -> Path:
        """Of `recovery.from`."""
        return self.folder / "from"

    @property
    def glue(self) -> Path:
        """As LAYERCUT_GLUE_DIR."""
        return self.folder / "glue"

    @property
    def files(self) -> Path:
        return self.folder / "files"

    def file(self, name: str) -> Path:
        """Of the file or folder that a request calls ``name``, an absolute path."""
        return self.files / name.strip("/")

    def known_sha256(self, path: Path) -> str | None:
        if not path.is_relative_to(self.folder):
            return None
        return self.sha256.get(str(path.relative_to(self.folder)))


def descriptor_path(place: int) -> str:
    """Of the descriptor at that place, to the runner itself and to what it starts."""
    return f"/proc/self/fd/{FIRST_DESCRIPTOR + place}"
