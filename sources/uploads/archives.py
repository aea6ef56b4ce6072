"""Archives of models, unpacked as they are read: what leads elsewhere, is no plain file, or swells is refused.

Nothing here touches a disk: whoever asks writes what is yielded, and takes it back where this raises.
"""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, BinaryIO, Self, cast

from api_schemas.errors import LayercutError
from api_schemas.uploads import LONGEST_NAME
from sources.tables.bounds import KIB, MIB
from sources.uploads.models import LeftOut
from sources.uploads.names import leads_elsewhere, too_long, wrong_name

BLOCK = MIB
#: Of one archive; and of all that tells of one member of a tar beside its contents, in bytes.
MAX_MEMBERS, MAX_HEADERS = 10_000, 256 * KIB
#: Of what a tar says of all members that follow: Python keeps it, and copies it for each of them.
MAX_COMMON = 100
#: Of a zip's list of its members.
MAX_DIRECTORY = 4 * MIB
#: Weights are noise, which no packing makes much smaller: what becomes so many times as large, and more than the least,
#: was made to.
MAX_TIMES, LEAST = 100, 64 * MIB
#: What the libraries raise. A gzip that is none is an OSError to them, and so is a disk that is full.
_BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError, ValueError,
    OverflowError,
)  # fmt: skip
#: What file managers put beside a user's files.
JUNK = ("__MACOSX",)
#: The others may take gigabytes of memory, whatever their size.
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Member:
    """A plain file. ``blocks`` are to be read before the next member is asked for."""

    name: str
    size: int
    blocks: Iterable[bytes]


@dataclass
class Unpacking:
    """``members`` of one archive, those for which ``wanted``; the others are ``left_out``. A folder that all lie in is
    not part of their names.

    ``check_room`` is told how many bytes all members that are wanted have, where that is known before the first is
    yielded, and raises where there is no room for them. Raises ``archive_invalid``.
    """

    wanted: Callable[[str], bool]
    check_room: Callable[[int], None] = lambda _: None
    left_out: LeftOut = field(default_factory=LeftOut)
    _top: str | None = None
    _seen: set[str] = field(default_factory=set)

    def of_tar(self, source: BinaryIO, *, gzipped: bool) -> Iterator[Member]:
        """Of a tar, read from its first byte to its last and once."""
        packed = _Counted(source)
        inner = gzip.GzipFile(fileobj=cast(BinaryIO, packed), mode="rb") if gzipped else packed
        plain = _Counted(cast(BinaryIO, inner), lambda count: _check_size(count, packed.count))
        plain.may_read_headers()  # of the first, when it is opened
        with _explained(), tarfile.open(fileobj=cast(BinaryIO, plain), mode="r|", tarinfo=_StrictInfo) as tar:
            for member in _members(tar, plain):
                if not member.isreg():
                    continue
                blocks = _blocks(cast(IO[bytes], tar.extractfile(member)), member.name, member.size)
                name = self._name(member.name)
                if name is not None:
                    yield Member(name, member.size, blocks)
                for _ in blocks:  # what nobody has read
                    pass
            # What is behind the end has to be read: there is the checksum of a gzip.
            while plain.read(BLOCK):
                pass

    def of_zip(self, source: BinaryIO) -> Iterator[Member]:
        """Of a zip, which is sought in. Nothing is yielded before all that its list says was checked."""
        packed = source.seek(0, io.SEEK_END)
        with _explained(), zipfile.ZipFile(_Bounded(source)) as found:
            infos = found.infolist()
            if len(infos) > MAX_MEMBERS:
                raise _invalid(f"it has more than {MAX_MEMBERS} members")
            _check_size(sum(info.file_size for info in infos), packed)
            for info in infos:
                _check_zip_member(info)
            named = [(self._name(info.filename), info) for info in infos if not info.is_dir()]
            kept = [(name, info) for name, info in named if name is not None]
            self.check_room(sum(info.file_size for _, info in kept))
            for name, info in kept:
                with found.open(info) as member:
                    yield Member(name, info.file_size, _blocks(member, info.filename, info.file_size))

    def _name(self, path: str) -> str | None:
        """The name without the folder that all lie in; None for what is left out."""
        path = path.removeprefix("./")
        parts = path.split("/")
        if parts[0] in JUNK or any(part.startswith(".") for part in parts):
            self.left_out.add(path)
            return None
        if self._top is None:
            self._top = f"{parts[0]}/" if len(parts) > 1 and not self.wanted(path) else ""
        name = path.removeprefix(self._top)
        if not self.wanted(name) or not path.startswith(self._top):
            self.left_out.add(path)
            return None
        if why := wrong_name(name):
            raise _invalid(f"{name[:200]!r} cannot be kept: {why}")
        if name.casefold() in self._seen:
            raise _invalid(f"{name!r} is in it twice")
        self._seen.add(name.casefold())
        return name


class _StrictInfo(tarfile.TarInfo):
    """A member's header. What is none, Python takes for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # a block of zeros: the end
            raise
        except tarfile.HeaderError as error:
            raise _invalid(f"it is broken, or cut off: {error}") from None


class _Counted(io.RawIOBase):
    """Counts the bytes that are read of ``source``, and tells the count. ``most`` may be read; None is any."""

    def __init__(self, source: BinaryIO, tell: Callable[[int], None] = lambda _: None) -> None:
        self._source, self._tell, self.count = source, tell, 0
        self.most: int | None = None

    def may_read_headers(self) -> None:
        self.most = self.count + MAX_HEADERS

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        found = self._source.read(BLOCK if size < 0 else size)
        self.count += len(found)
        self._tell(self.count)
        if self.most is not None and self.count > self.most:
            raise _invalid(f"the headers of one member have more than {MAX_HEADERS} bytes")
        return found


def _members(tar: tarfile.TarFile, source: _Counted) -> Iterator[tarfile.TarInfo]:
    """Each, checked; what is in it has to be read before the next is asked for. Headers may be as long as they say,
    and have lists in them: Python reads them into memory.
    """
    for _ in range(MAX_MEMBERS + 1):
        source.may_read_headers()
        member = tar.next()
        source.most = None
        if member is None:
            return
        # Python keeps all of them, with all their headers; only the one that is read is looked at again.
        tar.members.clear()  # type: ignore[attr-defined]  # no stub has it
        _check_common(tar.pax_headers)
        _check_tar_member(member)
        yield member
    raise _invalid(f"it has more than {MAX_MEMBERS} members")


class _Bounded(io.RawIOBase):
    """Reads no more at a time than a zip's list may have: Python takes what the file says."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            here = self.tell()
            size = self.seek(0, io.SEEK_END) - here
            self.seek(here)
        if size > MAX_DIRECTORY:
            raise _invalid(f"its list of members has more than {MAX_DIRECTORY} bytes")
        return self._source.read(size)


def _blocks(source: IO[bytes], name: str, size: int) -> Iterator[bytes]:
    """What is in the member ``name``: the ``size`` that the archive says. Raises ``archive_invalid``."""
    count = 0
    with _explained():
        while block := source.read(BLOCK):
            count += len(block)
            yield block
    if count != size:
        raise _invalid(f"it says that {name[:200]!r} has {size} bytes, and there are {count}")


def _check_size(size: int, packed: int) -> None:
    if size > LEAST and size > MAX_TIMES * packed:
        raise _invalid(f"it swells: {packed} bytes of it became more than {MAX_TIMES} times as many")


def _check_common(headers: Mapping[str, str]) -> None:
    if len(headers) > MAX_COMMON or sum(map(len, headers.values())) + sum(map(len, headers)) > MAX_HEADERS:
        raise _invalid(f"it has more than {MAX_COMMON} headers, or {MAX_HEADERS} characters of them, for all members")


def _check_tar_member(member: tarfile.TarInfo) -> None:
    if member.issparse() or not (member.isreg() or member.isdir()):
        raise _invalid(f"{member.name[:200]!r} is a link, a device, or a file with holes; pack plain files")
    _check_path(member.name)


def _check_zip_member(info: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _invalid(f"{info.filename[:200]!r} is a link or a device; pack plain files")
    if info.flag_bits & 1 or info.compress_type not in ZIP_METHODS:
        raise _invalid(
            f"{info.filename[:200]!r} is encrypted, or packed in a way that is not read: stored and deflated are"
        )
    _check_path(info.orig_filename)


def _check_path(path: str) -> None:
    path = path.removeprefix("./").rstrip("/")
    if too_long(path):
        raise _invalid(
            f"{path[:200]!r}… has more than {LONGEST_NAME} bytes, with its folders: shorten it, or leave it out"
        )
    why = leads_elsewhere(path) if path not in ("", ".") else None
    if why is not None:
        raise _invalid(f"{path[:200]!r}: {why}")


@contextmanager
def _explained() -> Iterator[None]:
    """What the libraries raise for a broken archive, in words of ours."""
    try:
        yield
    except _BROKEN as error:
        raise _invalid(f"it is broken, or no archive of its kind: {str(error)[:300]}") from None


def _invalid(why: str) -> LayercutError:
    return LayercutError("archive_invalid", f"the archive cannot be unpacked: {why}")
