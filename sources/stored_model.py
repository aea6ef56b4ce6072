"""The model among stored files, looked at where they are kept: as a folder's, of which no weight is read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from api_schemas.architectures import ModelFacts
from api_schemas.delivered import PREFIX
from api_schemas.errors import LayercutError
from api_schemas.pinned import MODEL, PinnedFile, PinnedSource
from api_schemas.requests import ModelRef
from sources.facts import INDEX, choose_weights, read_index
from sources.fingerprint import FileHashes, digest
from sources.headers import invalid
from sources.model_files import check_shards, check_total, needed_files
from sources.model_folder import read_facts
from sources.sentence_transformers import ModelFiles, read_modules
from sources.stored_files import StoredFiles
from sources.strict_json import limit_of, parse


def stored_facts(found: StoredFiles, *, modules: bool, most: int) -> ModelFacts:
    """The facts of the model; its weights may have ``most`` bytes, which the list of files tells before any is read.

    Raises ``validation_failed`` where a job delivered none, and as ``read_facts``.
    """
    check_has_model(found)
    check_total({name: found.files[name].bytes for name in chosen_files(found, modules=modules)}, most, found.id)
    return read_facts(found, ModelRef(id=found.id), modules=modules, most=most)


@dataclass(frozen=True)
class StoredModel:
    """A model of an upload or an object store: its ``facts``, and the files that a job reads of it, ``pinned``."""

    facts: ModelFacts
    pinned: PinnedSource
    found: StoredFiles

    def known(self, hashes: FileHashes) -> PinnedSource:
        """``pinned``, with the sha256 of every file. Reads those whose content the store does not tell; raises what
        that does, and ``Cancelled``.
        """
        files = [
            file.model_copy(update={"sha256": file.sha256 or self._hash(file, hashes)}) for file in self.pinned.files
        ]
        return self.pinned.model_copy(update={"files": files})

    def _hash(self, file: PinnedFile, hashes: FileHashes) -> str:
        name = digest("object", source=self.pinned.source, file=file.model_dump())
        return hashes.of_ranges(name, file.bytes, partial(self.found.open_range, file.name))


def pinned_model(found: StoredFiles, *, modules: bool, most: int) -> StoredModel:
    """Raises as ``stored_facts``."""
    facts = stored_facts(found, modules=modules, most=most)
    files = [found.files[name].pinned(name) for name in chosen_files(found, modules=modules)]
    return StoredModel(facts, PinnedSource(param=MODEL, source=found.id, files=files), found)


def check_has_model(found: StoredFiles) -> None:
    """Raise ``validation_failed`` for the artifact of a job that evaluated a model, and delivered none, and
    ``model_invalid`` for other files that are none.
    """
    if "config.json" in found.files:
        return
    if found.id.startswith(PREFIX):
        text = f"{found.id.removeprefix(PREFIX)} evaluated a model and delivered none: name the job that made the model"
        raise LayercutError("validation_failed", text)
    raise invalid(f"{found.id} has no config.json: give what the files of a transformers model lie directly below")


def chosen_files(found: StoredFiles, *, modules: bool) -> list[str]:
    """The files that a job reads of the model; those of its sentence-transformers ``modules`` where they are wanted."""
    carried = read_modules(ModelFiles(found.id, found.has, lambda name: _json(found, name))) if modules else None
    return needed_files(found.sizes, _shards(found), carried.files if carried else ())


def _shards(found: StoredFiles) -> list[str]:
    """Those that the index lists; none where the weights are one file."""
    if choose_weights(found.files, found.id) != INDEX:
        return []
    shards = sorted(set(read_index(_json(found, INDEX), found.id).values()))
    check_shards(shards, found.files, found.id)
    return shards


def _json(found: StoredFiles, name: str) -> object:
    return parse(found.read(name, limit_of(name)), name)
