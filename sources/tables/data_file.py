"""A file of the user's own, and how an error names it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from api_schemas.errors import LayercutError
from sources.paths import inside_roots
from sources.settings import SourceSettings


@dataclass(frozen=True)
class DataFile:
    """A file or folder: its real ``path``, the ``name`` that it was asked for by, and the field that did."""

    path: Path
    name: str
    param: str

    @property
    def kind(self) -> str:
        # By the name that was given: a link into a content-addressed store points at a file without a suffix.
        return Path(self.name).suffix.lower()

    def error(self, message: str, place: str = "") -> LayercutError:
        """``dataset_invalid``; ``place`` is a line or a row, such as ``12`` or ``row 3``."""
        return LayercutError("dataset_invalid", f"{self.name}:{place and f'{place}:'} {message}", param=self.param)


def allowed_file(name: str, settings: SourceSettings, param: str) -> DataFile:
    """The file or folder of that name, where it lies under a root for data; raises as ``inside_roots`` does."""
    if settings.inputs is not None:
        return DataFile(settings.inputs.file(name), name, param)
    return DataFile(inside_roots(name, settings.data_roots, what="dataset", param=param), name, param)
