"""Names of files in the artifact store, and what of its errors has a name of our own."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError

from api_schemas.errors import LayercutError
from store.places import Place

#: What obstore calls a file in a folder until all of it is written. It takes no such name for another file.
_UNFINISHED = re.compile(r".*#[0-9]+")
_FULL = (errno.ENOSPC, errno.EDQUOT)


def store_path(*names: str) -> str:
    """``names`` as one path of the store, or ``file_not_found`` for one that could lead elsewhere."""
    path = "/".join(names)
    parts = path.split("/")
    odd = "\\" in path or not path.isprintable() or is_unfinished(path)
    if odd or any(part in ("", ".", "..") for part in parts):
        raise LayercutError("file_not_found", f"{names[-1][:200]!r} is not the name of a file")
    return path


def is_unfinished(path: str) -> bool:
    """Whether it is what an upload into a folder has not, or never, come to the end of."""
    return _UNFINISHED.fullmatch(path) is not None


@contextmanager
def missing_reported(name: str, place: Place) -> Iterator[None]:
    """A file that is not there is ``file_not_found``; not where the store's folder or bucket, ``place``, is away."""
    try:
        yield
    except FileNotFoundError:
        place.require()
        raise LayercutError("file_not_found", f"there is no file {name[:200]!r}") from None


@contextmanager
def full_disk_reported() -> Iterator[None]:
    """A disk without room is ``storage_full``."""
    try:
        yield
    except (OSError, BaseError) as error:
        # obstore tells the number of the error of the system in words only.
        full = getattr(error, "errno", None) in _FULL or any(f"(os error {code})" in str(error) for code in _FULL)
        if not full:
            raise
        raise LayercutError("storage_full", "the artifact store has no room for these files") from error
