"""What a thing in the cache is named by: a sha256 of everything that its bits depend on. Imports no torch.

Files count by what is in them, not by where they lie or what they are called: the same model, from the hub and from a
folder, is one. The machine does not count beyond the type of its device: see
docs/adr/0007-fingerprints-of-content.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

from sources.beneath import Folder, open_plain
from sources.blocks import Cancelled, Stopped, blocks, never
from sources.headers import invalid
from sources.inputs import Inputs

#: Raise it with any change of code that changes what is made: what is in the cache is then made anew.
RECIPE = 7

#: Nothing of these reaches the weights of a baseline. A hyperparameter that is not named here is taken to.
NOT_OF_BASELINE = frozenset(
    {
        "method",
        "effort",
        "text",
        "vector_loss",
        "temperature",
        "label_weight",
        "hidden_weight",
        "noise",
        "checkpoint",
        "baseline_epochs",
        "baseline_batch_size",
        "baseline_learning_rate",
    }
)

LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")
# Below this, hashing is faster than remembering.
REMEMBERED_BYTES = 1 << 20
# A file may change twice within one tick of its clock: what has just changed is not remembered.
SETTLED_SECONDS = 5.0
# Two changes within one tick of the kernel's clock leave the same ctime: what is younger is looked at after it.
TICK_SECONDS = 0.02
# Files whose hashes were begun and not ended.
MOST_BEGUN = 100


def fingerprint(kind: str, **parts: Any) -> str:
    """sha256 of the parts, and of what every number hangs on: our recipe and the libraries."""
    return digest(kind, recipe=RECIPE, versions=_versions(), **parts)


def digest(kind: str, **parts: Any) -> str:
    """sha256 of the parts, which are JSON: floats count by their shortest exact form."""
    everything = {"kind": kind, **parts}
    text = json.dumps(everything, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


@dataclass(frozen=True)
class _Begun:
    """The ``digest`` of the first ``bytes`` of a file in that ``state``."""

    state: list[int]
    digest: hashlib._Hash
    bytes: int


class FileHashes:
    """sha256 of files; those of large ones are remembered in ``folder`` until the file changes. What was hashed as it
    was staged is not hashed again. Where ``stopped`` says so, ``Cancelled`` is raised within a block, and whoever asks
    for the file next goes on from there: one that takes longer than a request may is hashed by several.
    """

    def __init__(self, folder: Path, inputs: Inputs | None = None, stopped: Stopped = never) -> None:
        self._folder, self._inputs, self._stopped = folder, inputs, stopped
        self._begun: dict[str, _Begun] = {}
        self._seen: dict[str, list[int]] | None = None

    def until(self, stopped: Stopped) -> FileHashes:
        """The same, for one who may stop waiting."""
        same = FileHashes(self._folder, self._inputs, stopped)
        same._begun = self._begun
        return same

    def noting(self) -> FileHashes:
        """The same, with ``seen`` of what is hashed from now on."""
        same = self.until(self._stopped)
        same._seen = {}
        return same

    @property
    def seen(self) -> list[list[Any]]:
        """Path, inode, size, mtime and ctime of each file as it was before it was hashed (``store/file_states.py``)."""
        return [[path, *state] for path, state in sorted((self._seen or {}).items())]

    def _note(self, path: Path, file: BinaryIO) -> None:
        if self._seen is None:
            return
        if abs(time.time() - os.fstat(file.fileno()).st_ctime) < TICK_SECONDS:
            time.sleep(TICK_SECONDS)
        found = os.fstat(file.fileno())
        self._seen[str(path)] = [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]

    def of_files(self, folder: Folder, names: Iterable[str]) -> dict[str, str]:
        """Of files of a model's folder, by name; raises as ``Folder.open`` does."""
        return {name: self._of_file(folder, name) for name in names}

    def _of_file(self, folder: Folder, name: str) -> str:
        known = self._inputs and self._inputs.known_sha256(folder.path / name)
        if known:
            return known
        with folder.open(name) as file:
            self._note(folder.path / name, file)
            try:
                return self.of_open(file)
            except OSError as error:
                raise invalid(f"{name!r} of {folder.id!r} cannot be read: {error.strerror}") from None

    def of(self, path: Path) -> str:
        """By reading it: no name is believed. Raises ``OSError`` for what is no regular file."""
        known = self._inputs and self._inputs.known_sha256(path)
        if known:
            return known
        with open_plain(path) as file:
            self._note(path, file)
            return self.of_open(file)

    def of_open(self, file: BinaryIO) -> str:
        """Of a file that is open, from its beginning."""
        stat = os.fstat(file.fileno())
        if stat.st_size < REMEMBERED_BYTES:
            return self._hash(file, _Begun([], hashlib.sha256(), 0), stat.st_size)
        # ctime, as any program can set mtime back.
        state = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        note = self._folder / f"{stat.st_dev:x}-{stat.st_ino:x}"
        if (known := _read(note)).get("state") == state:
            return str(known["sha256"])
        begun = self._begun.pop(note.name, None)
        if begun is None or begun.state != state:
            begun = _Begun(state, hashlib.sha256(), 0)
        settled = time.time() - stat.st_ctime > SETTLED_SECONDS
        found = self._hash(file, begun, stat.st_size, note.name if settled else None)
        if settled:
            _write(note, {"state": state, "sha256": found})
        return found

    def of_ranges(self, name: str, size: int, read: Callable[[int, int], Iterable[bytes]]) -> str:
        """Of ``size`` bytes that ``read`` gives from a first up to, not including, a last. They are remembered by
        ``name``, a digest of what is never another content's.
        """
        note = self._folder / f"{name}.stored"
        if (known := _read(note)).get("state") == [size]:
            return str(known["sha256"])
        begun = self._begun.pop(note.name, None) or _Begun([size], hashlib.sha256(), 0)
        digest, done = begun.digest, begun.bytes
        try:
            for block in read(done, size):
                digest.update(block)
                done += len(block)
                if self._stopped():
                    raise Cancelled
        except Exception:
            self._keep(note.name, _Begun([size], digest, done))
            raise
        _write(note, {"state": [size], "sha256": digest.hexdigest()})
        return digest.hexdigest()

    def _hash(self, file: BinaryIO, begun: _Begun, size: int, name: str | None = None) -> str:
        """Of the first ``size`` bytes, of which some were ``begun``; how far it came is kept by ``name``."""
        digest, done = begun.digest, begun.bytes
        file.seek(done)
        try:
            for block in blocks(file, size - done, self._stopped):
                digest.update(block)
                done += len(block)
        except Cancelled:
            if name is not None:
                self._keep(name, _Begun(begun.state, digest, done))
            raise
        return digest.hexdigest()

    def _keep(self, name: str, begun: _Begun) -> None:
        self._begun[name] = begun
        for oldest in list(self._begun)[:-MOST_BEGUN]:
            self._begun.pop(oldest, None)


def _read(note: Path) -> dict[str, Any]:
    try:
        known = json.loads(note.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(note: Path, known: dict[str, Any]) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    new = note.with_suffix(f".{time.monotonic_ns()}")
    new.write_text(json.dumps(known))
    new.replace(note)
