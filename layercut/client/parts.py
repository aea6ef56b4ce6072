"""What is sent: local files with their hashes, and the blocks that they go in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layercut.client.errors import ClientError
from layercut.client.folders import sha256_of

#: Of one request: what a broken connection costs at most.
PART = 8 * 2**20

#: Of a model's folder. Other files are none of a model that is read: pickles, code, weights of other libraries.
SENT = frozenset({".safetensors", ".json", ".txt", ".model", ".jinja", ".md"})
NOTICES = ("LICENSE", "NOTICE")


@dataclass(frozen=True)
class Outgoing:
    """A file that is sent, as it was when it was hashed."""

    name: str
    path: Path
    size: int
    sha256: str

    @classmethod
    def of(cls, name: str, path: Path) -> Outgoing:
        return cls(name, path, path.stat().st_size, sha256_of(path))

    @property
    def announced(self) -> dict[str, Any]:
        return {"name": self.name, "bytes": self.size, "sha256": self.sha256}

    def part(self, at: int) -> bytes:
        """Raises ``ClientError`` where the file has changed since."""
        with self.path.open("rb") as file:
            file.seek(at)
            block = file.read(min(PART, self.size - at))
        if len(block) < min(PART, self.size - at):
            raise ClientError(f"{self.path} has become shorter while it was sent")
        return block


def files_of(paths: Sequence[Path]) -> list[Outgoing]:
    """Of a dataset. Raises ``ClientError`` for two of one name, and for what is no file."""
    if not paths:
        raise ClientError("give at least one file")
    twice = {path.name for path in paths if sum(other.name == path.name for other in paths) > 1}
    if twice:
        raise ClientError(f"two files are called {min(twice)!r}")
    for path in paths:
        if not path.is_file():
            raise ClientError(f"there is no file {str(path)!r}")
    return [Outgoing.of(path.name, path) for path in paths]


def model_of(folder: Path) -> list[Outgoing]:
    """The files of a model's folder, and of the folders in it, that a model is read from."""
    if not folder.is_dir():
        raise ClientError(f"there is no folder {str(folder)!r}")
    found = [Outgoing.of(path.relative_to(folder).as_posix(), path) for path in _of_model(folder)]
    if not found:
        raise ClientError(f"{str(folder)!r} has no file of a model: safetensors, configuration, tokenizer")
    return found


def _of_model(folder: Path) -> Iterator[Path]:
    for path in sorted((*folder.glob("*"), *folder.glob("*/*"))):
        parts = path.relative_to(folder).parts
        sent = path.suffix in SENT or path.name.startswith(NOTICES)
        if sent and path.is_file() and not any(part.startswith(".") for part in parts):
            yield path
