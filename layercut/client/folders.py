"""Where a download goes: checked names, half-written files beside the folder, the whole of it in one step."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from api_schemas.jobs import FileInfo
from layercut.client.errors import ClientError, DamagedFile, InvalidAnswer

SUMS = "SHA256SUMS"
BLOCK = 2**20
LONGEST_PART = 255
UNFINISHED = ".part"


def check_names(files: Sequence[FileInfo]) -> None:
    """Raise ``InvalidAnswer`` for names that lead out of a folder, on any system, or that two files have."""
    seen: set[str] = set()
    for file in files:
        why = _wrong(file.name) or ("two files have it" if file.name.casefold() in seen else None)
        if why is not None:
            raise InvalidAnswer(f"the service lists a file called {file.name[:200]!r}: {why}")
        seen.add(file.name.casefold())


def _wrong(name: str) -> str | None:
    parts = name.split("/")
    if not name.isprintable() or any(char in name for char in '\\\\:*?"<>|'):
        return "it has a character that is none of a name"
    if any(part in ("", ".", "..") or part != part.strip() or part.endswith(".") for part in parts):
        return "it leads to another folder"
    if any(len(part.encode()) > LONGEST_PART for part in parts):
        return f"a part of it has more than {LONGEST_PART} bytes"
    return "that is what files are called until they are whole" if name.endswith(UNFINISHED) else None


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Destination:
    """``folder`` is where the files are in the end; until then they lie in one beside it, whose name is hidden."""

    folder: Path

    @property
    def beside(self) -> Path:
        return self.folder.with_name(f".{self.folder.name}{UNFINISHED}")

    def holds(self, files: Sequence[FileInfo]) -> bool:
        """Whether just these are there already. Raises ``ClientError`` where something else is."""
        if not self.folder.exists():
            return False
        if not self.folder.is_dir():
            raise ClientError(f"{self.folder} is no folder")
        there = {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if not path.is_dir()}
        if not there:
            return False
        same = there == {file.name for file in files}
        if not same or any(sha256_of(self.folder / file.name) != file.sha256 for file in files):
            raise ClientError(f"{self.folder} is not empty, and is not what the job has delivered: name another folder")
        return True

    def finished(self, file: FileInfo) -> Path:
        return self.beside / file.name

    def unfinished(self, file: FileInfo) -> Path:
        return self.beside / f"{file.name}{UNFINISHED}"

    def prepare(self, file: FileInfo) -> int | None:
        """How many bytes of it are there; None where all of them are, and right."""
        done, part = self.finished(file), self.unfinished(file)
        if done.is_file() and done.stat().st_size == file.bytes and sha256_of(done) == file.sha256:
            return None
        part.parent.mkdir(parents=True, exist_ok=True)
        size = part.stat().st_size if part.is_file() else 0
        return size if size <= file.bytes else self.restart(file)

    def restart(self, file: FileInfo) -> int:
        self.unfinished(file).unlink(missing_ok=True)
        return 0

    def append(self, file: FileInfo, block: bytes, at: int) -> int:
        """Where the next block begins. Raises ``DamagedFile`` for one byte more than there are."""
        if at + len(block) > file.bytes:
            raise DamagedFile(f"{file.name}: more bytes come than the {file.bytes} that it has")
        with self.unfinished(file).open("r+b" if at else "wb") as part:
            part.seek(at)
            part.write(block)
        return at + len(block)

    def keep(self, file: FileInfo) -> bool:
        """Whether the file, all of whose bytes are there, is what was announced; what is not is removed."""
        part = self.unfinished(file)
        if file.bytes == 0:
            part.touch()
        if sha256_of(part) != file.sha256:
            part.unlink()
            return False
        part.replace(self.finished(file))
        return True

    def publish(self, files: Sequence[FileInfo]) -> None:
        """Put it all in its place, once ``SHA256SUMS`` says the same. Raises ``DamagedFile``."""
        check_sums(self.beside / SUMS, {file.name: file.sha256 for file in files})
        names = {file.name for file in files}
        # What another job's download left here.
        for path in sorted(self.beside.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path.relative_to(self.beside).as_posix() not in names:
                path.unlink()
        if self.folder.exists():
            self.folder.rmdir()
        self.beside.replace(self.folder)


def check_sums(sums: Path, files: dict[str, str]) -> None:
    """Raise ``DamagedFile`` where the artifact's own list has a file that did not come, or came otherwise."""
    if not sums.is_file():
        return
    for line in sums.read_text(encoding="utf-8").splitlines():
        sha256, _, name = line.partition("  ")
        if files.get(name) != sha256:
            raise DamagedFile(f"{SUMS} lists {name[:200]!r}, which did not come as it says")
