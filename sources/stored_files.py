"""Files that are kept where ranges of bytes are read, and no path opens them: what a job delivered, what was uploaded,
what lies below a prefix of an object store. Where that is, is known to whoever made ``open_range``.

They are read as anybody's: bounded. That no others are used than those that were pinned is what ``sha256`` is for, and
where that is not known, the ``etag``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256 as sha256_of

from api_schemas.pinned import PinnedFile
from sources.fingerprint import digest
from sources.headers import Layout, begin_of, invalid, layout_from
from sources.model_files import is_allowed, is_notice

#: What is asked for first of a file: most small files, and most headers, are within.
FIRST_BYTES = 64 << 10


@dataclass(frozen=True)
class StoredFile:
    """``sha256`` of its content where that is known; ``etag`` and ``version`` are an object's."""

    bytes: int
    sha256: str | None = None
    etag: str | None = None
    version: str | None = None

    @classmethod
    def of(cls, pinned: PinnedFile) -> StoredFile:
        return cls(pinned.bytes, pinned.sha256, pinned.etag, pinned.version)

    def pinned(self, name: str, sha256: str | None = None) -> PinnedFile:
        """By that ``name``; ``sha256`` is what has been found out of it."""
        return PinnedFile(
            name=name, bytes=self.bytes, sha256=self.sha256 or sha256, etag=self.etag, version=self.version
        )


@dataclass(frozen=True)
class StoredFiles:
    """Files by name. ``id`` is how a request names them together; ``open_range`` gives the bytes of one from a first up
    to, not including, a last. ``alone``: there is one, and it is what ``id`` means. As ``AnyFolder``, it is a model's.
    """

    id: str
    files: Mapping[str, StoredFile]
    open_range: Callable[[str, int, int], Iterable[bytes]]
    alone: bool = False
    commit: None = None
    _starts: dict[str, bytes] = field(default_factory=dict, repr=False, compare=False)

    @property
    def sizes(self) -> dict[str, int]:
        return {name: file.bytes for name, file in self.files.items()}

    @property
    def sha256(self) -> str:
        """Of the contents of a model's files, where they are known: what is said of it beside them does not count."""
        names = sorted(name for name in self.files if is_allowed(name) and not is_notice(name))
        return digest("delivered", files={name: self.files[name].sha256 for name in names})

    def names(self, under: str = "") -> list[str]:
        """The entries of the folder ``under``, folders too; empty where there is none of that name."""
        start = f"{under}/" if under else ""
        return sorted({name[len(start) :].partition("/")[0] for name in self.files if name.startswith(start)})

    def has(self, name: str) -> bool:
        return name in self.files or any(other.startswith(f"{name}/") for other in self.files)

    def size(self, name: str) -> int:
        """In bytes; raises ``model_invalid`` for what is no file."""
        if name not in self.files:
            raise invalid(f"{name!r} in {self.id!r} is no file")
        return self.files[name].bytes

    def start(self, name: str, count: int) -> bytes:
        """Its first ``count`` bytes, or all where it has fewer."""
        count = min(count, self.size(name))
        if name not in self._starts:
            self._starts[name] = b"".join(self.open_range(name, 0, min(FIRST_BYTES, self.files[name].bytes)))
        known = self._starts[name]
        return known[:count] if count <= max(len(known), FIRST_BYTES) else b"".join(self.open_range(name, 0, count))

    def read(self, name: str, limit: int) -> bytes:
        """All of it. Raises ``model_invalid`` where it has more than ``limit`` bytes, or is not what it was."""
        size, known = self.size(name), self.files[name].sha256
        if size > limit:
            raise invalid(f"{name} of {self.id!r} has {size} bytes; at most {limit} are read")
        found = self.start(name, size)
        if len(found) != size or (known is not None and sha256_of(found).hexdigest() != known):
            raise invalid(f"{name} of {self.id!r} is not what it was: it was changed or broken where it is kept")
        return found

    def layout(self, name: str) -> Layout:
        """As ``headers.layout_of``."""
        size = self.size(name)
        begin = begin_of(self.start(name, FIRST_BYTES), size, name)
        return layout_from(self.start(name, begin)[8:], name, size)
