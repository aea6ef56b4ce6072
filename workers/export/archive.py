"""One tar of the artifact: the same files give the same bytes."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path


def make_archive(folder: Path, archive: Path, arcname: str) -> Path:
    """Pack ``folder`` into the uncompressed tar ``archive``, whose one top folder is ``arcname``.

    Weights do not compress, and an uncompressed tar can be resumed anywhere. The tar appears whole or not at all.
    Raises ``ValueError`` for a link or anything else that is neither file nor folder.
    """
    unfinished = archive.with_name(f".{archive.name}.part")
    with tarfile.open(unfinished, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in [folder, *sorted(folder.rglob("*"))]:
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise ValueError(f"{path} is neither file nor folder")
            name = (Path(arcname) / path.relative_to(folder)).as_posix()
            tar.add(path, arcname=name, recursive=False, filter=_anonymous)
    os.replace(unfinished, archive)
    return archive


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() else 0o644
    return member
