"""How much room is left on the disks of this machine that we write to."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy import make_url

from api_schemas.errors import LayercutError
from store.passing import MESSAGES


def database_folder(url: str) -> Path | None:
    """Where the file of a ``sqlite:///`` URL lies; None of a server, and of a database in memory."""
    target = make_url(url)
    if target.get_backend_name() != "sqlite" or target.database in (None, "", ":memory:"):
        return None
    return Path(str(target.database)).absolute().parent


def artifacts_folder(url: str) -> Path | None:
    """The folder of a ``file://`` URL; None of an object store. Raises ``ValueError`` for the name of a host in it."""
    parts = urlsplit(url)
    if parts.scheme != "file":
        return None
    if parts.netloc not in ("", "localhost"):
        raise ValueError(f"{url} names the host {parts.netloc}: a folder is file:///, with three slashes")
    return Path("/", unquote(parts.path))


def local_folders(database_url: str, artifacts_url: str) -> list[Path]:
    """Those of the two that lie on a disk of this machine."""
    found = (database_folder(database_url), artifacts_folder(artifacts_url))
    return [folder for folder in found if folder is not None]


def free_bytes(folder: Path) -> int:
    """What may still be written on the disk of ``folder``, or of the nearest above it that exists.

    Raises OSError where the disk does not answer.
    """
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
    raise FileNotFoundError(folder)


def check_room(folders: Iterable[Path], least: int) -> None:
    """Raise ``storage_full`` where a disk of ``folders`` has fewer than ``least`` bytes free; 0 lets all pass.

    Raises OSError where a disk does not answer.
    """
    free = min(map(free_bytes, folders), default=least) if least else 0
    if free < least:
        text = (
            f"a disk of the service has {free:,} bytes free, and {least:,} are kept free (LAYERCUT_MIN_FREE_BYTES);"
            " its operator has to make room"
        )
        raise LayercutError("storage_full", text)


def require_folder(folder: Path | None) -> None:
    """Raise ``storage_unavailable`` where the folder of an artifact store is not there: what is asked of it is not
    missing then, and a write would make the folder anew, on another disk.
    """
    try:
        there = folder is None or folder.is_dir()
    except OSError:
        there = False
    if not there:
        raise LayercutError("storage_unavailable", MESSAGES["storage_unavailable"])


@contextmanager
def folder_there(folder: Path | None) -> Iterator[None]:
    """What is done in it counts only where the folder was there before and after: as ``require_folder``."""
    require_folder(folder)
    try:
        yield
    except FileNotFoundError:
        require_folder(folder)
        raise
    require_folder(folder)
