"""What is in an upload that is put together, by its kind; and its archive, unpacked into it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, BinaryIO

from api_schemas.uploads import PREFIX, UploadKind
from service.uploads.stored_bytes import file_reader
from service.uploads.stores import Stores
from service.uploads.writer import Writer
from sources.stored_files import StoredFile as ModelFile
from sources.stored_files import StoredFiles
from sources.uploads.archives import Unpacking
from sources.uploads.datasets import StoredData, inspect_dataset
from sources.uploads.models import LeftOut, inspect_model, is_read, left_out
from store.manifests import StoredFile
from store.stored_uploads import Writing

#: What was found, and notes.
Inspected = tuple[dict[str, Any], list[str]]


def inspect(held: Writing, files: Sequence[StoredFile], others: LeftOut, stores: Stores) -> Inspected:
    """Of the ``files`` of an upload; ``others`` came and are not kept. Raises what is wrong with them."""
    return _INSPECT[held.kind](held, files, others, stores)


def _inspect_dataset(held: Writing, files: Sequence[StoredFile], others: LeftOut, stores: Stores) -> Inspected:
    artifacts, prefix = stores.artifacts, held.prefix
    stored = [
        StoredData(
            file.name, file.bytes, file_reader(artifacts, prefix, file.name), artifacts.path_of(prefix, file.name)
        )
        for file in files
    ]
    return inspect_dataset(stored).model_dump(mode="json"), left_out(others)


def _inspect_model(held: Writing, files: Sequence[StoredFile], others: LeftOut, stores: Stores) -> Inspected:
    found = StoredFiles(
        f"{PREFIX}{held.upload_id}",
        {file.name: ModelFile(file.bytes, file.sha256) for file in files},
        partial(stores.artifacts.open_range, held.prefix),
    )
    facts, notes = inspect_model(found, others, most=stores.settings.max_model_bytes)
    return facts.model_dump(mode="json"), [*left_out(others), *notes]


_INSPECT: dict[UploadKind, Callable[..., Inspected]] = {
    UploadKind.DATASET: _inspect_dataset,
    UploadKind.MODEL: _inspect_model,
}


def unpack(name: str, source: BinaryIO, writer: Writer) -> tuple[list[StoredFile], LeftOut]:
    """Write the files of the archive ``name`` that are read of a model; and what is told of the others.

    ``source`` can be sought in where it is a zip. Raises ``archive_invalid``, and as ``Writer.put``.
    """
    unpacking = Unpacking(is_read, writer.check_fits)
    lower = name.lower()
    members = (
        unpacking.of_zip(source) if lower.endswith(".zip") else unpacking.of_tar(source, gzipped=lower[-2:] == "gz")
    )
    return [writer.put(member.name, member.size, member.blocks) for member in members], unpacking.left_out


def content_sha256(files: Sequence[StoredFile]) -> str:
    """Of an upload: its file's own, or of the lines that ``sha256sum`` prints of several, sorted by name."""
    if len(files) == 1:
        return files[0].sha256
    lines = (f"{file.sha256}  {file.name}\n" for file in sorted(files, key=lambda file: file.name))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
