"""Files of strangers, opened beneath a folder that was allowed: what a name means is decided once, when it is opened.

Nothing is opened by a whole path, in which any part could become a link after it was looked at. Each part is opened
from the one before without following links; a link is read, and followed by the same steps, so that it cannot lead out.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from api_schemas.errors import LayercutError
from sources.headers import Layout, layout_of
from sources.paths import What

MAX_LINKS = 8
#: Of entries that are looked at in one folder.
MAX_ENTRIES = 10_000

_COMMIT = re.compile(r"[0-9a-f]{40}")

# Without O_NONBLOCK, opening a FIFO would wait for its writer.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ENTER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


class LeadsOut(OSError):
    """A name that leads out of the folder, or through too many links."""


class NotRegular(OSError):
    """A folder, FIFO, socket or device where a file was expected."""


def open_regular(root: Path, name: str) -> BinaryIO:
    """The regular file ``name`` beneath ``root``, whose links are followed where they stay beneath it.

    Raises ``LeadsOut``, ``NotRegular``, and ``OSError`` where there is none or it may not be read.
    """
    with _opened(root, name) as handle:
        return os.fdopen(os.dup(handle), "rb")


def open_plain(path: Path) -> BinaryIO:
    """The regular file that ``path`` means, through whatever links; opening a FIFO does not wait.

    For paths that this machine's own people chose. Raises ``NotRegular``, and ``OSError``.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise NotRegular(0, "is no regular file")
    return os.fdopen(handle, "rb")


def list_names(root: Path, name: str = "") -> list[str]:
    """The entries of the folder ``name`` beneath ``root``, sorted, folders too; at most ``MAX_ENTRIES``.

    Raises as ``open_regular`` does, and ``NotADirectoryError``.
    """
    with _opened(root, name, folder=True) as handle, os.scandir(handle) as entries:
        found = [entry.name for entry, _ in zip(entries, range(MAX_ENTRIES + 1), strict=False)]
    if len(found) > MAX_ENTRIES:
        raise LeadsOut(0, f"has more than {MAX_ENTRIES} entries")
    return sorted(found)


class Folder:
    """The files of one model or dataset: a folder ``path`` beneath ``root``, which a person or the hub's client chose.

    ``id`` is how errors call it, ``param`` the field of the request that names it. Files that are ``handed`` to this
    process open are opened there, by their name in the folder. Methods raise ``LayercutError``:
    ``<what>_not_allowed`` for what leads out, ``<what>_invalid`` for what is no regular file, or is larger than asked.
    """

    def __init__(
        self,
        root: Path,
        path: Path,
        *,
        id: str,
        what: What = "model",
        param: str = "/model",
        handed: Mapping[str, Path] | None = None,
    ) -> None:
        self.root, self.path, self.id = root, path, id
        self._handed = handed or {}
        self._what, self._param = what, param
        self._inside = str(path.relative_to(root))

    @property
    def commit(self) -> str | None:
        return commit_of(self.path)

    def has(self, name: str) -> bool:
        """Whether there is an entry of that name; whether it can be used shows when it is opened."""
        try:
            with _opened(self.root, self._name(name), any_kind=True):
                return True
        except LeadsOut:
            return True
        except OSError:
            return False

    def check_inside(self, name: str) -> None:
        """Raise for an entry that is a link which leads out; whatever else it is shows when it is opened."""
        try:
            with _opened(self.root, self._name(name), any_kind=True):
                pass
        except LeadsOut as error:
            raise self._refused(name, error) from None
        except OSError:
            pass

    def names(self, under: str = "") -> list[str]:
        """The entries of the folder, or of the folder ``under`` in it; empty where there is none of that name."""
        try:
            return list_names(self.root, self._name(under))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self._refused(under or ".", error) from None

    def open(self, name: str, limit: int | None = None) -> BinaryIO:
        """The file ``name``, a path with "/" in it or none; refused where it has more than ``limit`` bytes."""
        try:
            handed = self._handed.get(name)
            file = open_plain(handed) if handed else open_regular(self.root, self._name(name))
        except OSError as error:
            raise self._refused(name, error) from None
        size = os.fstat(file.fileno()).st_size
        if limit is not None and size > limit:
            file.close()
            text = f"{name} of {self.id!r} has {size} bytes; at most {limit} are read"
            raise LayercutError(f"{self._what}_invalid", text, param=self._param)
        return file

    def read(self, name: str, limit: int) -> bytes:
        """All of the file ``name``; refused where it has more than ``limit`` bytes, however many it says to have."""
        with self.open(name, limit) as file:
            found = file.read(limit + 1)
        if len(found) > limit:
            text = f"{name} of {self.id!r} grew beyond {limit} bytes while it was read"
            raise LayercutError(f"{self._what}_invalid", text, param=self._param)
        return found

    def start(self, name: str, count: int) -> bytes:
        """The first ``count`` bytes of the file ``name``, or all where it has fewer."""
        with self.open(name) as file:
            return file.read(count)

    def layout(self, name: str) -> Layout:
        """As ``headers.layout_of``, of the file ``name``."""
        with self.open(name) as file:
            return layout_of(file, name)

    def size(self, name: str) -> int:
        """Of the file ``name``, in bytes."""
        with self.open(name) as file:
            return os.fstat(file.fileno()).st_size

    def _name(self, name: str) -> str:
        return f"{self._inside}/{name}" if name else self._inside

    def _refused(self, name: str, error: OSError) -> LayercutError:
        if isinstance(error, LeadsOut):
            code, text = "not_allowed", f"{name!r} in {self.id!r} {error.strerror}"
        elif isinstance(error, NotRegular):
            code, text = "invalid", f"{name!r} in {self.id!r} {error.strerror}"
        else:
            code, text = "invalid", f"{name!r} in {self.id!r} cannot be read: {error.strerror}"
        return LayercutError(f"{self._what}_{code}", text, param=self._param)


def state_of(file: BinaryIO) -> tuple[int, int, int]:
    """What differs once an open file was written to. With ctime, as any program can set mtime back."""
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def commit_of(path: Path) -> str | None:
    """Of a snapshot in a hub's cache, which is named after its commit; None for another folder."""
    return path.name if path.parent.name == "snapshots" and _COMMIT.fullmatch(path.name) else None


def beneath(path: Path, roots: Sequence[Path]) -> Path:
    """The real root that the real ``path`` lies under; raises ``ValueError`` where it is under none."""
    for root in roots:
        real = root.resolve()
        if path.is_relative_to(real):
            return real
    raise ValueError(f"{path} is under none of {roots}")


@contextmanager
def _opened(root: Path, name: str, *, folder: bool = False, any_kind: bool = False) -> Iterator[int]:
    """A handle of what ``name`` means beneath ``root``, closed at the end; of its folder, if ``any_kind`` will do."""
    walk = _Walk(root)
    try:
        mode = walk.to(name)
        if any_kind:
            yield walk.here
        elif stat.S_ISDIR(mode):
            if not folder:
                raise NotRegular(0, "is a folder, not a file")
            yield walk.here
        elif folder:
            raise NotADirectoryError(0, "is no folder")
        else:
            yield walk.open(mode)
    finally:
        walk.close()


class _Walk:
    """Steps from ``root``: ``here`` is the folder that was reached, ``last`` the name in it that is no folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._handles = [os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
        self._path = [self._handles[0]]
        self._links = 0
        self.last = ""

    @property
    def here(self) -> int:
        return self._path[-1]

    def to(self, name: str) -> int:
        """Go where ``name`` says; the mode of what is there."""
        parts, mode = _parts(name), stat.S_IFDIR
        if "\0" in name or not _is_encodable(name):
            raise FileNotFoundError(0, "is the name of no file")
        while parts:
            part = parts.pop(0)
            if part == "..":
                self._up()
                continue
            mode = os.stat(part, dir_fd=self.here, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                parts = self._target(part) + parts
            elif stat.S_ISDIR(mode):
                self._enter(part)
            elif parts:
                raise NotADirectoryError(0, "goes on after what is no folder")
            else:
                self.last = part
        return mode

    def open(self, mode: int) -> int:
        """Open ``last``. What was put in its place since it was looked at is opened without waiting, and refused."""
        if stat.S_ISREG(mode):
            self._handles.append(os.open(self.last, _READ, dir_fd=self.here))
            if stat.S_ISREG(os.fstat(self._handles[-1]).st_mode):
                return self._handles[-1]
        raise NotRegular(0, "is no regular file")

    def close(self) -> None:
        for handle in self._handles:
            os.close(handle)

    def _up(self) -> None:
        if len(self._path) == 1:
            raise LeadsOut(0, "leads out of the allowed folder")
        self._path.pop()

    def _enter(self, part: str) -> None:
        self._handles.append(os.open(part, _ENTER, dir_fd=self.here))
        self._path.append(self._handles[-1])

    def _target(self, link: str) -> list[str]:
        self._links += 1
        if self._links > MAX_LINKS:
            raise LeadsOut(0, f"goes through more than {MAX_LINKS} links")
        target = os.readlink(link, dir_fd=self.here)
        if not target.startswith("/"):
            return _parts(target)
        if not Path(target).is_relative_to(self._root):
            raise LeadsOut(0, "is a link that leads out of the allowed folder")
        del self._path[1:]
        return _parts(str(Path(target).relative_to(self._root)))


def _is_encodable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]
