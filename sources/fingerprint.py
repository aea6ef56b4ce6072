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
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

from api_schemas.errors import LayercutError
from sources.beneath import open_plain
from sources.facts import WEIGHTS
from sources.inputs import Inputs
from sources.model_files import is_allowed

#: Raise it with any change of code that changes what is made: what is in the cache is then made anew.
RECIPE = 7

#: Nothing of these reaches the weights of a baseline. A hyperparameter that is not named here is taken to.
NOT_OF_BASELINE = frozenset(
    {
        "method",
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
# What a config or a tokenizer is read from, beside *.json.
SMALL_FILES = (".json", ".txt", ".model", ".jinja")
# Below this, hashing is faster than remembering.
REMEMBERED_BYTES = 1 << 20
# A file may change twice within one tick of its clock: what has just changed is not remembered.
SETTLED_SECONDS = 5.0


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


class FileHashes:
    """sha256 of files; those of large ones are remembered in ``folder`` until the file changes. What was hashed as it
    was staged is not hashed again.
    """

    def __init__(self, folder: Path, inputs: Inputs | None = None) -> None:
        self._folder, self._inputs = folder, inputs

    def weights(self, model: Path) -> dict[str, str]:
        """Of the safetensors files of a model's folder that loading reads."""
        files = [model / WEIGHTS] if (model / WEIGHTS).is_file() else sorted(model.glob("*.safetensors"))
        return {path.name: self._of_model(path) for path in files if is_allowed(path.name)}

    def texts(self, model: Path) -> dict[str, str]:
        """Of its config, its tokenizer and the other small files that loading may read."""
        files = sorted(path for path in model.iterdir() if path.suffix in SMALL_FILES and is_allowed(path.name))
        return {path.name: self._of_model(path) for path in files if not path.is_dir()}

    def _of_model(self, path: Path) -> str:
        try:
            return self.of(path)
        except OSError as error:
            text = f"{path.name!r} of the model cannot be read: {error.strerror}"
            raise LayercutError("model_invalid", text, param="/model") from None

    def of(self, path: Path) -> str:
        """By reading it: no name is believed. Raises ``OSError`` for what is no regular file."""
        known = self._inputs and self._inputs.known_sha256(path)
        if known:
            return known
        with open_plain(path) as file:
            return self.of_open(file)

    def of_open(self, file: BinaryIO) -> str:
        """Of a file that is open, from its beginning."""
        stat = os.fstat(file.fileno())
        if stat.st_size < REMEMBERED_BYTES:
            return _hash(file)
        # ctime, as any program can set mtime back.
        state = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        note = self._folder / f"{stat.st_dev:x}-{stat.st_ino:x}"
        if (known := _read(note)).get("state") == state:
            return str(known["sha256"])
        found = _hash(file)
        if time.time() - stat.st_ctime > SETTLED_SECONDS:
            _write(note, {"state": state, "sha256": found})
        return found


def _hash(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


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
