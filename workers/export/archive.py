"""One tar of the artifact: the same files give the same bytes."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

BLOCK = 1 << 20


def archive_name(job_id: str | None, suffix: str | None) -> str:
    """What the tar of a job is called, without its ending; and its one top folder."""
    return "-".join(part for part in (job_id or "model", suffix) if part)


def make_archive(folder: Path, archive: Path, arcname: str) -> Path:
    """Pack ``folder`` into the uncompressed tar ``archive``, whose one top folder is ``arcname``.

    Weights do not compress, and an uncompressed tar can be resumed anywhere. The tar appears whole or not at all.
    Raises ``ValueError`` for a link or anything else that is neither file nor folder.
    """
    files: dict[str, Path] = {}
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise ValueError(f"{path} is neither file nor folder")
        if path.is_file():
            files[path.relative_to(folder).as_posix()] = path
    unfinished = archive.with_name(f".{archive.name}.part")
    with unfinished.open("wb") as target:
        target.writelines(Tar(files, arcname).blocks())
    os.replace(unfinished, archive)
    return archive


@dataclass(frozen=True)
class Tar:
    """The tar of ``files``, by their names in the one folder ``top``. Nothing of it lies on a disk: it is read from
    the files, which must stay as they are.
    """

    files: Mapping[str, Path]
    top: str

    @property
    def size(self) -> int:
        """In bytes."""
        return _padded(sum(len(header) + _padded(size) for header, size, _ in self._members()) + 2 * tarfile.BLOCKSIZE,
                       tarfile.RECORDSIZE)  # fmt: skip

    def blocks(self) -> Iterator[bytes]:
        """What is in it. Raises ``OSError`` where a file got shorter meanwhile."""
        sent = 0
        for header, size, path in self._members():
            yield header
            if path is not None:
                yield from _content(path, size)
            yield bytes(_padded(size) - size)
            sent += len(header) + _padded(size)
        yield bytes(self.size - sent)

    def _members(self) -> Iterator[tuple[bytes, int, Path | None]]:
        """(header, bytes, file) of each; a folder comes before what is in it, and has no file."""
        names = {PurePosixPath(self.top, name): path for name, path in self.files.items()}
        folders = {folder for name in names for folder in name.parents if folder.name}
        for name, path in sorted({PurePosixPath(self.top): None, **dict.fromkeys(folders), **names}.items()):
            size = 0 if path is None else path.stat().st_size
            yield _header(name.as_posix(), size, is_folder=path is None), size, path


def _header(name: str, size: int, *, is_folder: bool) -> bytes:
    """Of nobody, and of no time."""
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o755 if is_folder else 0o644
    member.type = tarfile.DIRTYPE if is_folder else tarfile.REGTYPE
    return member.tobuf(tarfile.PAX_FORMAT)


def _content(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while size:
            block = file.read(min(BLOCK, size))
            if not block:
                raise OSError(0, f"{path.name} got shorter while it was packed")
            size -= len(block)
            yield block


def _padded(size: int, unit: int = tarfile.BLOCKSIZE) -> int:
    return -(-size // unit) * unit
