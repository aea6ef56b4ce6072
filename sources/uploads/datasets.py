"""A look into data that was sent, where it is kept: what a job could make of it, in bounded time, memory and room."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from api_schemas.errors import LayercutError
from api_schemas.task_spec import CONLL_SUFFIXES
from api_schemas.uploads import DatasetInspection, TableInspection
from sources.datasets import TRAIN_STEMS
from sources.tables.beginnings import LOOK_BYTES, write_head
from sources.tables.bounds import LOOK_SECONDS
from sources.tables.data_file import DataFile, PassingFault
from sources.tables.duck import scratch
from sources.tables.table import FORMATS
from sources.text_files import TXT
from sources.uploads.footers import look_into_footer, write_footer
from sources.uploads.lines import look_into_sentences, look_into_texts
from sources.uploads.looks import Found, Looked
from sources.uploads.tables import look_into_table

PARQUET = ".parquet"

LOOKS: dict[str, Callable[[DataFile], Found]] = {
    **dict.fromkeys(FORMATS, look_into_table),
    TXT: look_into_texts,
    **dict.fromkeys(CONLL_SUFFIXES, look_into_sentences),
}


@dataclass(frozen=True)
class StoredData:
    """One file of a dataset. ``read`` gives its bytes from a first up to, not including, a last; ``path`` is where it
    lies on a disk of this machine, if it does.
    """

    name: str
    size: int
    read: Callable[[int, int], Iterable[bytes]]
    path: Path | None = None

    @property
    def kind(self) -> str:
        return PurePosixPath(self.name).suffix.lower()


def check_kind(name: str, param: str | None = None) -> None:
    """Raise ``dataset_invalid`` for a file that no job reads."""
    if PurePosixPath(name).suffix.lower() not in LOOKS:
        known = ", ".join(LOOKS)
        raise LayercutError(
            "dataset_invalid",
            f"{name[:200]!r} is not a file of a known kind: {known}. Unpack what is compressed",
            param=param,
        )


def inspect_dataset(files: Sequence[StoredData]) -> DatasetInspection:
    """Raises ``dataset_invalid`` for a file that no job could read, or that has no rows."""
    first = next((file for file in files if PurePosixPath(file.name).stem in TRAIN_STEMS), files[0])
    others = sorted((file for file in files if file is not first), key=lambda file: file.name)
    found = inspect_file(first)
    return DatasetInspection(**found.model_dump(), others=[inspect_file(file) for file in others])


def inspect_file(stored: StoredData) -> TableInspection:
    check_kind(stored.name)
    if not stored.size:
        raise LayercutError("dataset_invalid", f"{stored.name}:1: the file is empty: it has no rows")
    try:
        with _here(stored) as (path, looked):
            file = DataFile(path, stored.name, "").within(LOOK_SECONDS)
            if stored.kind == PARQUET and not looked.complete:
                return look_into_footer(file).shown(file, looked)
            with file.pinned() as pinned:
                return LOOKS[stored.kind](pinned).shown(file, looked)
    except LayercutError as error:
        # There is no field that names it.
        kind = PassingFault if isinstance(error, PassingFault) else LayercutError
        raise kind(error.code, error.message) from None


@contextmanager
def _here(stored: StoredData) -> Iterator[tuple[Path, Looked]]:
    """As much of the file as is looked at, on this machine."""
    if stored.path is not None and stored.size <= LOOK_BYTES:
        yield stored.path, Looked(stored.size, stored.size)
        return
    with scratch() as folder:
        path = folder / "stored"
        yield path, Looked(_bring(stored, path), stored.size)


def _bring(stored: StoredData, path: Path) -> int:
    """Write what is looked at to ``path``; how many of the file's bytes that is."""
    if stored.size <= LOOK_BYTES:
        with path.open("wb") as target:
            target.writelines(stored.read(0, stored.size))
        return stored.size
    if stored.kind == PARQUET:
        write_footer(path, stored.size, stored.read)
        return 0
    return write_head(path, stored.kind, stored.read(0, LOOK_BYTES))
