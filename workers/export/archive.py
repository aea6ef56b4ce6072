"""One tar of the artifact, on a disk: the same files give the same bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from store.archives import FilePart, Piece, TarLayout

BLOCK = 1 << 20


def archive_name(job_id: str | None, suffix: str | None) -> str:
    """What the tar of a job is called, without its ending; and its one top folder."""
    return "-".join(part for part in (job_id or "model", suffix) if part)


def make_archive(folder: Path, archive: Path, arcname: str) -> Path:
    """Pack ``folder`` into the uncompressed tar ``archive``, whose one top folder is ``arcname``.

    The tar appears whole or not at all. Raises ``ValueError`` for a link or anything else that is neither file nor
    folder, and ``OSError`` where a file gets shorter meanwhile.
    """
    layout = TarLayout(tuple(_sizes(folder)), arcname)
    unfinished = archive.with_name(f".{archive.name}.part")
    with unfinished.open("wb") as target:
        for piece in layout.pieces():
            target.writelines(_blocks(folder, piece))
    os.replace(unfinished, archive)
    return archive


def _sizes(folder: Path) -> Iterator[tuple[str, int]]:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise ValueError(f"{path} is neither file nor folder")
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.stat().st_size


def _blocks(folder: Path, piece: Piece) -> Iterator[bytes]:
    if isinstance(piece, FilePart):
        yield from _content(folder.joinpath(*PurePosixPath(piece.name).parts), piece.count)
    else:
        yield piece


def _content(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while size:
            block = file.read(min(BLOCK, size))
            if not block:
                raise OSError(0, f"{path.name} got shorter while it was packed")
            size -= len(block)
            yield block
