"""The model among stored files, looked at where they are kept: as a folder's, of which no weight is read."""

from __future__ import annotations

from api_schemas.architectures import ModelFacts
from api_schemas.delivered import PREFIX
from api_schemas.errors import LayercutError
from api_schemas.pinned import MODEL, PinnedFile, PinnedSource
from api_schemas.requests import ModelRef
from sources.facts import INDEX, choose_weights, read_index
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


def pinned_model(found: StoredFiles, *, modules: bool, most: int) -> tuple[ModelFacts, PinnedSource]:
    """Its facts, and the files that a job reads of it. Raises as ``stored_facts``."""
    facts = stored_facts(found, modules=modules, most=most)
    files = [(name, found.files[name]) for name in chosen_files(found, modules=modules)]
    pinned = [
        PinnedFile(name=name, bytes=file.bytes, sha256=file.sha256, etag=file.etag, version=file.version)
        for name, file in files
    ]
    return facts, PinnedSource(param=MODEL, source=found.id, files=pinned)


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
