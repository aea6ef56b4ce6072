"""A file of the user's own, and how an error names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from api_schemas.errors import LayercutError
from sources.beneath import beneath, open_plain, open_regular, state_of
from sources.paths import inside_roots
from sources.settings import SourceSettings


@dataclass(frozen=True)
class DataFile:
    """A file or folder: its real ``path``, the ``name`` that it was asked for by, and the field that did.

    ``root`` is the allowed folder that it is under; None for a file of our own.
    """

    path: Path
    name: str
    param: str
    root: Path | None = None

    @property
    def kind(self) -> str:
        # By the name that was given: a link into a content-addressed store points at a file without a suffix.
        return Path(self.name).suffix.lower()

    def error(self, message: str, place: str = "") -> LayercutError:
        """``dataset_invalid``; ``place`` is a line or a row, such as ``12`` or ``row 3``."""
        return LayercutError("dataset_invalid", f"{self.name}:{place and f'{place}:'} {message}", param=self.param)

    @contextmanager
    def pinned(self) -> Iterator[DataFile]:
        """The same file, with a path that means it alone while this lasts, whatever is put in its place.

        Raises ``dataset_invalid`` for what is no regular file, and at the end where it changed meanwhile.
        """
        with self._open() as file:
            before = state_of(file)
            yield replace(self, path=Path(f"/dev/fd/{file.fileno()}"), root=None)
            if state_of(file) != before:
                raise self.error("the file changed while it was read: give it when it is whole")

    def _open(self) -> BinaryIO:
        try:
            if self.root is None:
                return open_plain(self.path)
            return open_regular(self.root, str(self.path.relative_to(self.root)))
        except OSError as error:
            raise self.error(f"the file cannot be read: {error.strerror}") from None


def allowed_file(name: str, settings: SourceSettings, param: str) -> DataFile:
    """The file or folder of that name, where it lies under a root for data; raises as ``inside_roots`` does."""
    if settings.inputs is not None:
        return DataFile(settings.inputs.file(name), name, param)
    path = inside_roots(name, settings.data_roots, what="dataset", param=param)
    return DataFile(path, name, param, beneath(path, settings.data_roots))
