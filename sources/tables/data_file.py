"""A file of the user's own, and how an error names it."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from api_schemas.delivered import PREFIX
from api_schemas.errors import LayercutError
from api_schemas.source_names import is_object, is_stored
from sources.beneath import beneath, open_plain, open_regular, state_of
from sources.paths import inside_roots
from sources.settings import SourceSettings
from sources.tables.bounds import COPY_BYTES, LOOK_COPY_BYTES, MAX_HOLES, MAX_ROW, MIB, TABLE_BYTES

BLOCK = MIB


class PassingFault(LayercutError):
    """Of a file in which there may be nothing wrong: it took too long, or was not to be read just now."""


@dataclass(frozen=True)
class DataFile:
    """A file or folder: its real ``path``, the ``name`` that it was asked for by, and the field that did.

    ``root`` is the allowed folder that it is under; None for a file of our own. ``limit``: of its size, in bytes.
    A look at it ends at ``deadline``, by the monotonic clock, ``seconds`` after it began. ``partial``:
    its beginning is here, of a Parquet its end too, and holes in place of the rest, which a worker looks at.
    """

    path: Path
    name: str
    param: str
    root: Path | None = None
    limit: int = TABLE_BYTES
    seconds: float | None = None
    deadline: float = math.inf
    partial: bool = False

    @property
    def kind(self) -> str:
        # By the name that was given: a link into a content-addressed store points at a file without a suffix.
        return Path(self.name).suffix.lower()

    def error(self, message: str, place: str = "") -> LayercutError:
        """``dataset_invalid``; ``place`` is a line or a row, such as ``12`` or ``row 3``."""
        return LayercutError("dataset_invalid", f"{self.name}:{place and f'{place}:'} {message}", param=self.param)

    def passing_fault(self, message: str) -> PassingFault:
        """As ``error``, of what is not in the file."""
        return PassingFault("dataset_invalid", f"{self.name}: {message}", param=self.param)

    def within(self, seconds: float) -> DataFile:
        """The same file, to be looked at for so long from now on."""
        return replace(self, seconds=seconds, deadline=time.monotonic() + seconds)

    @property
    def most_copied(self) -> int:
        """Bytes that it may be written to anew."""
        return COPY_BYTES if self.seconds is None else LOOK_COPY_BYTES

    def check_time(self) -> None:
        """Raise ``dataset_invalid`` once the look at it has taken too long."""
        if time.monotonic() > self.deadline:
            raise self.too_slow()

    def too_slow(self) -> LayercutError:
        return self.passing_fault(f"the file takes longer than {self.seconds:.0f} s to look through")

    def blocks(self, path: Path | None = None) -> Iterator[bytes]:
        """What is in the file, or in the copy of it that ``path`` is. Raises as ``check_time`` does."""
        with (path or self.path).open("rb") as opened:
            while block := opened.read(BLOCK):
                self.check_time()
                yield block

    def lines(self, path: Path | None = None) -> Iterator[bytes]:
        """Each with its end; of one that is longer than a row may be, pieces. Raises as ``check_time`` does."""
        with (path or self.path).open("rb") as opened:
            while line := opened.readline(MAX_ROW + 1):
                self.check_time()
                yield line

    @contextmanager
    def pinned(self) -> Iterator[DataFile]:
        """The same file, with a path that means it alone while this lasts, whatever is put in its place.

        Raises ``dataset_invalid`` for what is no regular file, and at the end where it changed meanwhile.
        """
        with self._open() as file:
            before = state_of(file)
            if not self.partial:
                self._check_size(file.fileno())
            yield replace(self, path=Path(f"/dev/fd/{file.fileno()}"), root=None)
            if state_of(file) != before:
                raise self.passing_fault("the file changed while it was read: give it when it is whole")

    def check_bytes(self, size: int) -> None:
        """Raise ``dataset_invalid`` for more than may be read."""
        if size > self.limit:
            raise self.error(
                f"the file has {size} bytes, more than the {self.limit} that LAYERCUT_TABLE_BYTES allows: give less"
            )

    def _check_size(self, handle: int) -> None:
        size = os.fstat(handle).st_size
        self.check_bytes(size)
        most = max(MAX_HOLES, size // 2) if self.kind == ".parquet" else MAX_HOLES
        if (holes := _holes(handle, size, most)) > most:
            raise self.error(f"of its {size} bytes, {holes} or more were never written: give the file when it is whole")

    def _open(self) -> BinaryIO:
        try:
            if self.root is None:
                return open_plain(self.path)
            return open_regular(self.root, str(self.path.relative_to(self.root)))
        except OSError as error:
            raise self.passing_fault(f"the file cannot be read: {error.strerror}") from None


def allowed_file(name: str, settings: SourceSettings, param: str) -> DataFile:
    """The file or folder of that name, where it lies under a root for data, or was fetched; raises as ``inside_roots``
    does.
    """
    if settings.inputs is not None:
        return DataFile(settings.inputs.file(name), name, param, limit=settings.table_bytes)
    if (here := settings.fetched.get(name)) is not None:
        return DataFile(here.path, name, param, limit=settings.table_bytes, partial=not here.is_whole)
    if is_stored(name) or name.startswith(PREFIX) or "://" in name:
        raise LayercutError("dataset_not_allowed", _not_here(name), param=param)
    path = inside_roots(name, settings.data_roots, what="dataset", param=param)
    return DataFile(path, name, param, beneath(path, settings.data_roots), settings.table_bytes)


def _not_here(name: str) -> str:
    if name.startswith(PREFIX):
        return f"{name!r}: what a job delivers is a model; data is a file, upload:<id> or an address such as s3://…"
    if "://" in name and not is_object(name):  # what follows may hold a signature
        return f"{name.partition('://')[0][:20]}://… is not supported: addresses begin with s3://, gs:// or az://"
    if is_object(name):
        return f"{name!r} has to be fetched, and nothing here does"
    return f"{name!r} is what was uploaded to the service: POST the request there, or give the path of the file"


def _holes(handle: int, size: int, most: int) -> int:
    """How many bytes of an open file take no place on the disk, as far as ``most`` and some; 0 where the file
    system does not tell. A megabyte may claim terabytes.
    """
    found, at = 0, 0
    try:
        while at < size and found <= most:
            hole = os.lseek(handle, at, os.SEEK_HOLE)
            at = _data(handle, hole, size)
            found += at - hole
    except OSError:
        return found
    finally:
        os.lseek(handle, 0, os.SEEK_SET)
    return found


def _data(handle: int, at: int, size: int) -> int:
    """Where data goes on after a hole; at the end of the file, where it does not."""
    try:
        return os.lseek(handle, at, os.SEEK_DATA) if at < size else size
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size
        raise
