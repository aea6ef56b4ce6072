"""Data that a request names of uploads and object stores: which files are meant, and where they are while it is read.

A table is read from a file. So what is named is fetched first, and from then on is called by its own name: of
``upload:<id>`` that is ``upload:<id>/train.csv``, and of a prefix ``s3://bucket/prefix/train.csv``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pydantic import BaseModel

from api_schemas.errors import LayercutError
from api_schemas.pinned import PinnedSource
from api_schemas.requests import JobRequest, PlanRequest
from api_schemas.source_names import is_stored
from sources.datasets import DEV_STEMS, TRAIN_STEMS, member, no_training_file, reader_of, unknown_kind
from sources.fetched import Fetched, Wanted
from sources.heads import spans_of
from sources.settings import SourceSettings
from sources.stored_files import StoredFile, StoredFiles
from sources.tables.data_file import DataFile
from sources.tables.table import FORMATS
from sources.text_files import KINDS

TRAIN, DEV = "/task/dataset", "/task/dev"
#: Fields that name data; the endings of files that each takes, where that is not for the task's kind to say.
FIELDS: Mapping[str, Collection[str] | None] = {
    TRAIN: None,
    DEV: None,
    "/task/pairs/dataset": tuple(FORMATS),
    "/recovery/text/dataset": KINDS,
    "/prune/calibration/dataset": KINDS,
}

#: The files that a name means, for the field that says it; raises ``LayercutError``.
Find = Callable[[str, str], StoredFiles]
Request = TypeVar("Request", JobRequest, PlanRequest)
Part = TypeVar("Part", bound=BaseModel)


@dataclass(frozen=True)
class NamedData:
    """What one field names: ``names`` are the files of ``found`` that are meant, of training data the dev file last."""

    param: str
    source: str
    found: StoredFiles
    names: tuple[str, ...]

    @property
    def files(self) -> dict[str, StoredFile]:
        """By the names that data is called by."""
        return {f"{self.found.id}/{name}": self.found.files[name] for name in self.names}

    def wanted(self, name: str, look_bytes: int) -> Wanted:
        """The file of that name, to be fetched; of one that is larger than ``look_bytes``, some of it."""
        own, file = name.removeprefix(f"{self.found.id}/"), self.files[name]
        known = (file.sha256,) if file.sha256 else (name, file.etag, file.version)
        spans = spans_of(_kind(name), file.bytes) if file.bytes > look_bytes else ()
        return Wanted(known, file.bytes, partial(self.found.open_range, own), spans)

    def pinned(self, here: Mapping[str, Fetched]) -> PinnedSource:
        known = {name: found.sha256 for name, found in here.items()}
        files = [file.pinned(name, known.get(name)) for name, file in self.files.items()]
        return PinnedSource(param=self.param, source=self.source, files=files)


def stored_data(request: Request, find: Find, settings: SourceSettings) -> Iterator[NamedData]:
    """What the fields of ``request`` name of uploads and object stores. Raises what ``find`` does, and as
    ``table_files`` for what is no file of data, or is too large.
    """
    for param, suffixes in FIELDS.items():
        name = _value(request, param)
        if name is None or not is_stored(name):
            continue
        kinds = suffixes if suffixes is not None else reader_of(request.task).suffixes
        found = find(name, param)
        data = NamedData(param, name, found, _chosen(request, param, found, kinds))
        _check(data, kinds, settings)
        yield data


def renamed(request: Request, sources: Iterable[PinnedSource]) -> Request:
    """``request`` with its stored data by the files' own names. Raises ``validation_failed`` where it says of a file
    what such a file has not.
    """
    for source in sources:
        if source.is_model:
            continue
        names = [file.name for file in source.files]
        request = _with(request, _path(source.param), names[0])
        if len(names) > 1:
            request = _with(request, _path(DEV), names[1])
    request.task.check_files()
    return request


def _chosen(request: Request, param: str, found: StoredFiles, kinds: Collection[str]) -> tuple[str, ...]:
    if found.alone:
        return tuple(found.files)
    if param != TRAIN:
        first = min(found.files)
        text = f"{found.id} has {len(found.files)} files, and this is for one: name it, as in {found.id}/{first}"
        raise LayercutError("dataset_invalid", text, param=param)
    train = member(found.files, TRAIN_STEMS, kinds)
    if train is None:
        raise no_training_file(found.id, kinds)
    dev = member(found.files, DEV_STEMS, kinds) if request.task.dev is None else None
    return (train,) if dev is None else (train, dev)


def _check(data: NamedData, kinds: Collection[str], settings: SourceSettings) -> None:
    for name, file in data.files.items():
        if _kind(name) not in kinds:
            raise unknown_kind(name, kinds, data.param)
        DataFile(Path(), name, data.param, limit=settings.table_bytes).check_bytes(file.bytes)


def _kind(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _path(param: str) -> list[str]:
    return param.split("/")[1:]


def _value(request: BaseModel, param: str) -> str | None:
    found: Any = request
    for name in _path(param):
        found = getattr(found, name, None)
    return None if found is None else str(found)


def _with(part: Part, path: list[str], value: str) -> Part:
    name, *rest = path
    return part.model_copy(update={name: _with(getattr(part, name), rest, value) if rest else value})
