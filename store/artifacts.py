"""Artifacts: the files of one attempt under one prefix of an object store, with a manifest that is written last."""

from __future__ import annotations

import errno
import hashlib
import mimetypes
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url
from pydantic import BaseModel, Field

from api_schemas.errors import LayercutError

MANIFEST = "manifest.json"
CHUNK_BYTES = 1 << 20
#: Ten thousand files of an artifact take half of it.
MAX_MANIFEST_BYTES = 4 << 20
#: A smaller file is sent as it is, a larger one in parts: object stores take ten thousand of them at most.
PART_BYTES = 8 << 20
MAX_PARTS = 9_000
PARTS_AT_ONCE = 4

_MEDIA_TYPES = {
    ".safetensors": "application/octet-stream",
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".tar": "application/x-tar",
    "": "text/plain; charset=utf-8",
}
_FULL = (errno.ENOSPC, errno.EDQUOT)


class StoredFile(BaseModel):
    """One file of an artifact; ``name`` is its path under the prefix, with slashes."""

    name: str
    bytes: int
    sha256: str
    media_type: str


class Manifest(BaseModel):
    """A manifest that exists means an artifact that is whole."""

    files: list[StoredFile]
    archive: str | None = Field(default=None, description="the one of `files` that is a tar of all the others")

    def find(self, name: str) -> StoredFile:
        """The file of that name; raises ``file_not_found`` with the names that exist."""
        for file in self.files:
            if file.name == name:
                return file
        known = ", ".join(file.name for file in self.files)
        raise LayercutError("file_not_found", f"the artifact has no file {name[:200]!r}; it has {known}")

    @property
    def contents(self) -> list[StoredFile]:
        """The files without the archive."""
        return [file for file in self.files if file.name != self.archive]


class UploadStopped(Exception):
    """Nobody waits for the files any more."""


class ArtifactStore:
    """Files by prefix and name, in a folder (``file://``) or in S3, GCS or Azure.

    Names with ``..``, empty parts or a leading slash raise ``file_not_found``; a full disk raises ``storage_full``.
    """

    def __init__(self, url: str) -> None:
        self._store = _open(url)

    def publish(
        self,
        prefix: str,
        folder: Path,
        archive: str | Path | None = None,
        *,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Manifest:
        """Upload every file under ``folder``, one of our own, then the manifest.

        ``archive`` is a tar that lies beside ``folder`` (a name) or anywhere (a path); it is stored by its own name.
        Raises ``export_failed`` for anything that is not a plain file, and as ``Upload.put``.
        """
        sources = [(path.relative_to(folder).as_posix(), path) for path in _plain_files(folder)]
        tar = None if archive is None else folder.parent / archive
        if tar is not None:
            sources.append((tar.name, tar))
        upload = self.upload(prefix, stopped)
        for name, path in sources:
            upload.put(name, path.stat().st_size, blocks_of(path))
        return upload.finish(tar.name if tar else None)

    def upload(self, prefix: str, stopped: Callable[[], bool] = lambda: False) -> Upload:
        """An artifact at ``prefix``, to be filled. ``stopped`` is asked between blocks."""
        return Upload(self._store, prefix, stopped)

    def manifest(self, prefix: str) -> Manifest:
        """What was published there; raises ``file_not_found`` where nothing whole is."""
        with _missing_reported(prefix):
            found = obstore.get(self._store, _path(prefix, MANIFEST))
            if found.meta["size"] > MAX_MANIFEST_BYTES:
                raise LayercutError("file_not_found", f"what is called {MANIFEST} has {found.meta['size']} bytes")
            body = found.bytes()
        return Manifest.model_validate_json(bytes(body))

    def open_range(self, prefix: str, name: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes ``start`` up to, not including, ``end``, in chunks. A missing file is reported before the first."""
        path = _path(prefix, name)
        with _missing_reported(name):
            if start >= end:
                obstore.head(self._store, path)
                return iter(())
            answer = obstore.get(self._store, path, options={"range": (start, end)})
        return (bytes(chunk) for chunk in answer.stream(min_chunk_size=CHUNK_BYTES))

    def fetch(self, prefix: str, folder: Path) -> None:
        """Download all files into ``folder``; raises ``file_not_found`` where one is missing or is not what it was."""
        for file in self.manifest(prefix).files:
            chunks = self.open_range(prefix, file.name, 0, file.bytes)  # first: it refuses a name that leads elsewhere
            path = folder.joinpath(*PurePosixPath(file.name).parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256()
            with path.open("wb") as target:
                for chunk in chunks:
                    target.write(chunk)
                    digest.update(chunk)
            if digest.hexdigest() != file.sha256:
                raise LayercutError("file_not_found", f"{file.name} is not the file that was published")

    def prefixes(self, start: str) -> list[str]:
        """Those under ``start`` that something whole was published at."""
        ending = f"/{MANIFEST}"
        return [path.removesuffix(ending) for path in self._paths(f"{_path(start)}/") if path.endswith(ending)]

    def delete(self, prefix: str) -> None:
        """Delete all files of an artifact; one that does not exist is deleted already."""
        paths = self._paths(f"{_path(prefix)}/")
        # The manifest goes first: what is left half deleted must not look whole.
        self._delete(sorted(paths, key=lambda path: not path.endswith(f"/{MANIFEST}")))

    def sweep(self, job_id: str, attempt: int, keep_prefix: str | None) -> int:
        """Of a job that ended, delete the files of all attempts up to ``attempt`` but of the one that is kept; how many
        files went. A job that was asked for again meanwhile may have a later attempt, which is under way.
        """
        attempts = f"{_path('jobs', job_id, 'attempts')}/"
        spared = f"{keep_prefix}/" if keep_prefix else None
        losers = [path for path in self._paths(attempts) if not (spared and path.startswith(spared))]
        losers = [path for path in losers if _number(path.removeprefix(attempts)) <= attempt]
        self._delete(losers)
        return len(losers)

    def _paths(self, start: str) -> list[str]:
        return [item["path"] for page in obstore.list(self._store, start) for item in page]

    def _delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            try:
                obstore.delete(self._store, path)
            except FileNotFoundError:
                continue  # another sweeper was faster


class Upload:
    """The files of one artifact, hashed as they are sent; the manifest is written last."""

    def __init__(self, store: ObjectStore, prefix: str, stopped: Callable[[], bool]) -> None:
        self._store, self._prefix, self._stopped = store, prefix, stopped
        self._files: dict[str, StoredFile] = {}

    def put(self, name: str, size: int, blocks: Iterable[bytes]) -> StoredFile:
        """Send the file ``name``, ``size`` bytes in ``blocks``.

        Raises ``export_failed`` for a name that is taken, or reserved for the manifest, ``storage_full``, and
        ``UploadStopped``. A file that was not sent to its end is not there.
        """
        path = _path(self._prefix, name)
        # In any letters, and in any folder: some disks know no difference, and a manifest below is one of its own.
        if PurePosixPath(name).name.casefold() == MANIFEST or name in self._files:
            raise LayercutError("export_failed", f"a file cannot be called {name[:200]!r}: the name is taken")
        digest, sent = hashlib.sha256(), 0

        def counted() -> Iterator[bytes]:
            nonlocal sent
            for block in blocks:
                if self._stopped():
                    raise UploadStopped
                digest.update(block)
                sent += len(block)
                yield block

        with _full_disk_reported():
            if size <= PART_BYTES:
                obstore.put(self._store, path, b"".join(counted()))
            else:
                part = max(PART_BYTES, -(-size // MAX_PARTS))
                obstore.put(self._store, path, counted(), chunk_size=part, max_concurrency=PARTS_AT_ONCE)
        sha256 = digest.hexdigest()
        file = self._files[name] = StoredFile(name=name, bytes=sent, sha256=sha256, media_type=_media_type(name))
        return file

    def finish(self, archive: str | None = None) -> Manifest:
        """The artifact is whole; ``archive`` is the one of its files that is a tar of the others.

        Raises as ``put``, also where the list itself is too long.
        """
        if self._stopped():
            raise UploadStopped
        manifest = Manifest(files=list(self._files.values()), archive=archive)
        body = manifest.model_dump_json(indent=1).encode()
        if len(body) > MAX_MANIFEST_BYTES:
            raise LayercutError("export_failed", f"the list of the {len(self._files)} files has {len(body)} bytes")
        with _full_disk_reported():
            obstore.put(self._store, _path(self._prefix, MANIFEST), body)
        return manifest


def blocks_of(path: Path) -> Iterator[bytes]:
    """What is in the file."""
    with path.open("rb") as file:
        while block := file.read(CHUNK_BYTES):
            yield block


def _number(name: str) -> int:
    """Of the attempt that ``name``, beneath a job's attempts, is of; what is of none is as old as can be."""
    number = name.partition("-")[0]
    return int(number) if number.isdecimal() else 0


def _open(url: str) -> ObjectStore:
    if url.startswith("file:"):
        return from_url(url, mkdir=True, automatic_cleanup=True)
    return from_url(url)


def _path(*names: str) -> str:
    """``names`` as one path of the store, or ``file_not_found`` for one that could lead elsewhere."""
    path = "/".join(names)
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in path or not path.isprintable():
        raise LayercutError("file_not_found", f"{names[-1][:200]!r} is not the name of a file")
    return path


def _plain_files(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    for path in paths:
        if path.is_symlink() or not path.is_file():
            raise LayercutError("export_failed", f"{path.relative_to(folder)} is not a plain file")
    return paths


def _media_type(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return _MEDIA_TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


@contextmanager
def _missing_reported(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise LayercutError("file_not_found", f"there is no file {name[:200]!r}") from None


@contextmanager
def _full_disk_reported() -> Iterator[None]:
    try:
        yield
    except (OSError, BaseError) as error:
        # obstore tells the number of the error of the system in words only.
        full = getattr(error, "errno", None) in _FULL or any(f"(os error {code})" in str(error) for code in _FULL)
        if not full:
            raise
        raise LayercutError("storage_full", "the artifact store has no room for the files of this job") from error
