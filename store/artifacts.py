"""Artifacts: the files of one attempt under one prefix of an object store, with a manifest that is written last."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath

import obstore
from obstore.store import MemoryStore, ObjectStore, from_url

from api_schemas.errors import LayercutError
from store import manifests
from store.disk_space import artifacts_folder
from store.folders import StoreFolder
from store.manifests import MANIFEST, Manifest
from store.object_clients import open_store
from store.paths import full_disk_reported, missing_reported, store_path
from store.places import PROBE, PROBE_FOLDER, BucketPlace, FolderPlace, Place
from store.presigning import Presigner
from store.read_ahead import read_ahead
from store.reading import HeldFiles, OpenFiles, StoredObjects
from store.sweeping import Sweeper
from store.uploads import CHUNK_BYTES, PARTS_AT_ONCE, Upload, UploadStopped, blocks_of, plain_files


class ArtifactStore:
    """Files by prefix and name, in a folder (``file://``) or in S3, GCS or Azure.

    Names with ``..``, empty parts or a leading slash raise ``file_not_found``; a full disk raises ``storage_full``, and
    a folder or bucket that is away ``storage_unavailable``: nothing is written or deleted then, and nothing counts as
    missing. What else an object store raises, ``passing`` knows.
    """

    def __init__(
        self, url: str, seconds: float | None = None, *, mkdir: bool = True, presigned_endpoint: str = ""
    ) -> None:
        """``seconds``: an object store that does not answer a question for so long is away; None: for a minute or two.
        ``presigned_endpoint``: where others reach it; empty: where we do.

        Without ``mkdir``, a folder that is not there is away. A service makes its own by ``make_folder_once``. Raises
        ``NoStore`` for an address that no store has.
        """
        self._url, self._seconds, self._root = url, seconds, artifacts_folder(url)
        root = self._root
        self._folder, self._place = None if root is None else StoreFolder(root), _place(root, lambda: self._store)
        self._presigner = Presigner(None)
        if root is None:
            self._store = open_store(url, seconds)
            self._presigner = Presigner.of(self._store, url, presigned_endpoint, seconds)
        elif mkdir:
            root.mkdir(parents=True, exist_ok=True)

    @cached_property
    def _store(self) -> ObjectStore:
        """Of a folder, opened when it is first used: it may be away until then."""
        self._place.require()
        return from_url(self._url)

    @cached_property
    def _patient_store(self) -> ObjectStore:
        """To write to: an answer begins once a whole part was sent, however slow the line is."""
        # What lies in memory is in the one store that it was put into.
        same = self.is_folder or self._seconds is None or isinstance(self._store, MemoryStore)
        return self._store if same else open_store(self._url, None)

    @cached_property
    def _sweeper(self) -> Sweeper:
        return Sweeper(self._store, self._folder)

    @property
    def is_folder(self) -> bool:
        """Whether the files lie in a folder, by their own names."""
        return self._folder is not None

    def check(self) -> None:
        """Write a small object, read, list and delete it: each is a right of its own. Raises what the store raises; one
        that was left is written over.
        """
        with self._place.there():
            obstore.put(self._store, PROBE, b"Can it be written?\n" * 200)
            with suppress(FileNotFoundError):  # another process, which checks too, has deleted it
                obstore.get(self._store, PROBE).bytes()
            self._place.require()
            self._sweeper.delete([PROBE], PROBE_FOLDER)

    def publish(
        self, prefix: str, folder: Path, top: str | None = None, *, stopped: Callable[[], bool] = lambda: False
    ) -> Manifest:
        """Upload every file under ``folder``, then the manifest, with a tar of them that is called ``top``, if any.

        Raises ``export_failed`` for anything that is not a plain file, and as ``Upload.put``. Doing it again after it
        failed writes over what is there.
        """
        upload = self.upload(prefix, stopped, top)
        for path in plain_files(folder):
            upload.put(path.relative_to(folder).as_posix(), path.stat().st_size, blocks_of(path))
        return upload.finish()

    def upload(
        self,
        prefix: str,
        stopped: Callable[[], bool] = lambda: False,
        top: str | None = None,
        *,
        resumed: bool = False,
        parts_at_once: int = PARTS_AT_ONCE,
    ) -> Upload:
        """An artifact at ``prefix``, to be filled. ``stopped`` is asked between blocks. The others: see ``Upload``."""
        return Upload(
            self._patient_store, prefix, stopped, top, resumed=resumed, place=self._place, is_folder=self.is_folder,
            parts_at_once=parts_at_once,
        )  # fmt: skip

    def write(self, prefix: str, name: str, data: bytes | bytearray) -> None:
        """One file by itself, which no manifest lists; one that is there is written over."""
        path = store_path(prefix, name)
        with self._place.there(), full_disk_reported():
            obstore.put(self._store, path, data)

    def discard(self, prefix: str, names: Iterable[str]) -> None:
        """Delete these files beneath ``prefix``, and no others; one that does not exist is deleted already.

        Raises ``NotDeletedError`` once all others are gone.
        """
        with self._place.there():
            self._sweeper.delete([store_path(prefix, name) for name in names], store_path(prefix))

    def path_of(self, prefix: str, name: str) -> Path | None:
        """Where the file lies on a disk of this machine; None where it lies in an object store."""
        path = store_path(prefix, name)
        return None if self._root is None else self._root / path

    def manifest(self, prefix: str) -> Manifest:
        """What was published there; raises ``file_not_found`` where nothing whole is."""
        return self.pinned_manifest(prefix)[0]

    def pinned_manifest(self, prefix: str) -> tuple[Manifest, str]:
        """As ``manifest``, with the sha256 of it."""
        with missing_reported(prefix, self._place):
            found = obstore.get(self._store, store_path(prefix, MANIFEST))
            if found.meta["size"] > manifests.MAX_MANIFEST_BYTES:
                raise LayercutError("file_not_found", f"what is called {MANIFEST} has {found.meta['size']} bytes")
            body = bytes(found.bytes())
        return Manifest.model_validate_json(body), hashlib.sha256(body).hexdigest()

    def open_files(self, prefix: str, names: Sequence[str]) -> OpenFiles:
        """Files of the artifact, to be sent. One that is missing is ``file_not_found``, here or when it is read."""
        with missing_reported(names[0] if names else prefix, self._place):
            if self._folder:
                return HeldFiles(self._folder, prefix, names)
            return StoredObjects(self._store, prefix, names)

    def open_range(self, prefix: str, name: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes ``start`` up to, not including, ``end``, in chunks. A missing file is reported before the first."""
        path = store_path(prefix, name)
        with missing_reported(name, self._place):
            if start >= end:
                obstore.head(self._store, path)
                return iter(())
            if not self.is_folder:
                return read_ahead(self._store, path, start, end)
            answer = obstore.get(self._store, path, options={"range": (start, end)})
        return (bytes(chunk) for chunk in answer.stream(min_chunk_size=CHUNK_BYTES))

    def presigned(self, prefix: str, name: str, seconds: int) -> str | None:
        """An address at which the store itself sends the file for so long, to anybody; None where it cannot."""
        return self._presigner.address(store_path(prefix, name), seconds)

    def fetch(self, prefix: str, folder: Path, *, stopped: Callable[[], bool] = lambda: False) -> None:
        """Download all files into ``folder``; raises ``file_not_found`` where one is missing or is not what it was, and
        ``UploadStopped`` once ``stopped``, which is asked between blocks, says so.
        """
        for file in self.manifest(prefix).files:
            chunks = self.open_range(prefix, file.name, 0, file.bytes)  # first: it refuses a name that leads elsewhere
            path = folder.joinpath(*PurePosixPath(file.name).parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256()
            with path.open("wb") as target:
                for chunk in chunks:
                    if stopped():
                        raise UploadStopped
                    target.write(chunk)
                    digest.update(chunk)
            if digest.hexdigest() != file.sha256:
                raise LayercutError("file_not_found", f"{file.name} is not the file that was published")

    def prefixes(self, start: str) -> list[str]:
        """Those under ``start`` that something whole was published at."""
        ending = f"/{MANIFEST}"
        with self._place.there():
            paths = self._sweeper.paths(store_path(start))
        return [path.removesuffix(ending) for path in paths if path.endswith(ending)]

    def delete(self, prefix: str, *, wanted: Callable[[], bool] = lambda: False) -> None:
        """Delete all files of an artifact; one that does not exist is deleted already. Nothing goes where ``wanted``,
        which is asked once they are listed, says so: what is written from then on is not among them.

        Raises ``NotDeletedError`` once all others are gone.
        """
        start = store_path(prefix)
        with self._place.there():
            # The manifest goes first: what is left half deleted must not look whole.
            paths = sorted(self._sweeper.paths(start), key=lambda path: not path.endswith(f"/{MANIFEST}"))
            if not wanted():
                self._sweeper.delete(paths, start)

    def sweep(self, job_id: str, attempt: int, keep_prefix: str | None) -> int:
        """Of a job that ended, delete the files of all attempts up to ``attempt`` but of the one that is kept; how many
        files went. A job that was asked for again meanwhile may have a later attempt, which is under way.

        Raises ``NotDeletedError`` once all others are gone.
        """
        attempts = store_path("jobs", job_id, "attempts")
        spared = f"{keep_prefix}/" if keep_prefix else None
        with self._place.there():
            losers = [path for path in self._sweeper.paths(attempts) if not (spared and path.startswith(spared))]
            losers = [path for path in losers if _number(path.removeprefix(f"{attempts}/")) <= attempt]
            return self._sweeper.delete(losers, attempts)

    def sweep_unfinished(self, older_than_seconds: float) -> int:
        """Delete what uploads that were killed left half written, unless one was written to within that time.

        Returns how many files went; raises ``NotDeletedError`` once all others are gone. An upload that only slept
        fails then, and can be made again. Object stores show no such files: a rule of the bucket ends them.
        """
        with self._place.there():
            return self._sweeper.delete_unfinished(older_than_seconds)


def _place(root: Path | None, store: Callable[[], ObjectStore]) -> Place:
    return BucketPlace(store) if root is None else FolderPlace(root)


def _number(name: str) -> int:
    """Of the attempt that ``name``, beneath a job's attempts, is of; what is of none is as old as can be."""
    number = name.partition("-")[0]
    return int(number) if number.isdecimal() else 0
