"""Models: found under an allowed root or on the hub, looked at without loading them, and fetched for the runner."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.utils import validate_repo_id

from api_schemas.architectures import ModelFacts
from api_schemas.errors import LayercutError
from api_schemas.requests import ModelRef
from api_schemas.source_names import is_object
from sources import hub
from sources.beneath import Folder, beneath
from sources.config_bounds import check_bounds
from sources.config_keys import KEYS, check_keys
from sources.facts import INDEX, WEIGHTS, check_config, choose_weights, make_facts, merge_shards, read_index
from sources.headers import MAX_TENSORS, Tensor, invalid
from sources.hub_client import Deadline, Unreachable
from sources.model_files import PATTERNS, check_shards, check_total, needed_files
from sources.model_folder import folder_of, opened_folder, read_facts, with_modules
from sources.paths import inside_roots
from sources.sentence_transformers import ModelFiles, Modules, read_modules
from sources.settings import SourceSettings

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/+-]*")


@dataclass(frozen=True)
class ModelSource:
    """Where a model is: ``folder`` on this machine, or (None) the hub's repository ``id`` at ``revision``."""

    id: str
    revision: str | None = None
    folder: Path | None = None


def locate(ref: ModelRef, settings: SourceSettings) -> ModelSource:
    """Where ``ref`` points; the hub is not asked.

    Raises ``model_not_allowed`` for a path outside ``settings.model_roots`` and for URLs, ``model_not_found`` for a
    folder that is not there and for what cannot be a hub id.
    """
    if ref.is_path:
        return ModelSource(ref.id, folder=_local_folder(ref, settings))
    if is_object(ref.id):
        text = f"{ref.id!r} has to be fetched, and nothing here does"
        raise LayercutError("model_not_allowed", text, param="/model")
    if ref.is_stored:
        raise LayercutError(
            "model_not_allowed",
            f"{ref.id!r} is kept by the service: POST the request there, or give the folder of its files",
            param="/model",
        )
    if scheme := _SCHEME.match(ref.id):
        # What follows may hold a signature.
        raise LayercutError(
            "model_not_allowed",
            f"{scheme[0]}… is not supported: give a hub id (owner/name), the absolute path of a folder, job:<id>,"
            " upload:<id>, or an address that begins with s3://, gs:// or az://",
            param="/model",
        )
    try:
        validate_repo_id(ref.id)
    except ValueError:
        raise LayercutError(
            "model_not_found",
            f"{ref.id!r} is neither a hub id (owner/name) nor the absolute path of a folder",
            param="/model",
        ) from None
    if ref.revision is not None and not _REVISION.fullmatch(ref.revision):
        raise LayercutError(
            "model_not_found", f"{ref.revision!r} is not a branch, tag or commit", param="/model/revision"
        )
    return ModelSource(ref.id, ref.revision)


def inspect(
    ref: ModelRef, settings: SourceSettings, *, timeout: float | None = None, modules: bool = True
) -> ModelFacts | None:
    """What can be known of a model within ``timeout`` seconds (default ``settings.hub_timeout_seconds``).

    ``modules``: whether those of a sentence-transformers folder are to be carried over; else they are not looked at.
    None where it cannot be known now: the hub does not answer and its cache does not hold the model. Without numbers
    on the weights where the hub answered too slowly for those. Raises ``LayercutError`` for a model that cannot work:
    ``model_not_found``, ``model_not_allowed``, ``model_invalid``, ``unsupported_architecture``, ``ceiling_passed``.
    """
    source, most = locate(ref, settings), settings.max_model_bytes
    if source.folder is not None:
        return read_facts(local_folder(source.folder, ref.id, settings), ref, modules=modules, most=most)
    try:
        return _inspect_remote(source, Deadline(timeout or settings.hub_timeout_seconds), modules, most)
    except Unreachable:
        folder = _cached(source)
        return None if folder is None else read_facts(folder_of(folder, ref.id), ref, modules=modules, most=most)


def fetch(ref: ModelRef, settings: SourceSettings, *, modules: bool = True) -> Path:
    """A folder with the model's config, tokenizer and safetensors: the local one as it is, or from the hub.

    ``read_facts`` is the check of what it holds; a hub model that cannot work is refused before its weights are
    downloaded. Raises as ``inspect`` does, and ``hub_unavailable`` where neither the hub nor its cache can help.
    """
    if settings.inputs is not None:
        return settings.inputs.model
    source = locate(ref, settings)
    if source.folder is not None:
        return source.folder
    return hub.fetch(
        source.id, source.revision, what="model", ask=lambda: _needed(source, settings, modules), is_whole=_is_whole
    )


def _local_folder(ref: ModelRef, settings: SourceSettings) -> Path:
    if ref.revision is not None:
        raise LayercutError(
            "validation_failed", "a revision is for hub models; a folder has none", param="/model/revision"
        )
    folder = inside_roots(ref.id, settings.model_roots, what="model", param="/model")
    if not folder.is_dir():
        raise LayercutError(
            "model_not_found", f"{ref.id!r} is not a folder: give the one that config.json is in", param="/model"
        )
    # A link to, say, a key file named vocab.txt would otherwise be read, and end in the artifact.
    found = local_folder(folder, ref.id, settings)
    for name in found.names():
        found.check_inside(name)
    return folder


def local_folder(path: Path, id: str, settings: SourceSettings) -> Folder:
    """The real ``path`` that ``locate`` gave, opened beneath the root that it is under; ``id`` is what errors say."""
    return Folder(beneath(path, settings.model_roots), path, id=id)


def given_folder(ref: ModelRef, settings: SourceSettings) -> Folder | None:
    """The folder that ``ref`` gives the path of, or to a runner its copy; None for a model of the hub."""
    if settings.inputs is not None:
        has_folder = ref.is_path or ref.is_stored
        return opened_folder(settings.inputs.model, ref.id, settings.inputs) if has_folder else None
    found = locate(ref, settings).folder
    return None if found is None else local_folder(found, ref.id, settings)


def _cached(source: ModelSource) -> Path | None:
    """The snapshot in the hub's cache, unless only a part of it is there."""
    try:
        return hub.cached(source.id, source.revision, what="model", is_whole=_is_whole)
    except Unreachable:
        return None


def _is_whole(folder: Path) -> bool:
    """We fetch config.json last; other programs, which share the cache, may not."""
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in (WEIGHTS, INDEX))


@dataclass(frozen=True)
class _Looked:
    """A repository, its config, its file of weights and its modules, once they are known to be usable."""

    repo: hub.Repo
    config: dict[str, Any]
    weights: str
    modules: Modules | None


def _look(source: ModelSource, deadline: Deadline, modules: bool) -> _Looked:
    repo = hub.look(source.id, source.revision, deadline)
    found = _read_modules(repo, deadline) if modules else None
    if "config.json" not in repo.files:
        raise invalid(f"{source.id!r} has no config.json: it is not a transformers model")
    config = hub.read_json(repo, "config.json", deadline)
    check_bounds(config, check_config(config, source.id), None, source.id)
    weights = choose_weights(repo.files, source.id)
    # Once they are here they are looked at again: a slow hub is no reason not to fetch them.
    with suppress(Unreachable):
        for name in KEYS.keys() & repo.files.keys() & set(PATTERNS) - {"config.json"}:
            check_keys(name, hub.read_json(repo, name, deadline), source.id)
    return _Looked(repo, config, weights, found)


def _read_modules(repo: hub.Repo, deadline: Deadline) -> Modules | None:
    files = ModelFiles(repo.id, lambda name: name in repo.files, lambda name: hub.read_json(repo, name, deadline))
    return read_modules(files)


def _needed(source: ModelSource, settings: SourceSettings, modules: bool) -> tuple[hub.Repo, list[str]]:
    """The files to fetch, the config last: where the cache has it, it has the others too."""
    looked = _look(source, Deadline(settings.hub_timeout_seconds), modules)
    repo, found, deadline = looked.repo, looked.modules, Deadline(settings.hub_timeout_seconds)
    if not modules:
        # This job does not use them, whatever they are; a later one, without the hub, may.
        with suppress(LayercutError, Unreachable):
            found = _read_modules(repo, deadline)
    shards = sorted(set(_weight_map(repo, looked.weights, deadline).values()))
    names = needed_files(repo.files, shards, found.files if found else ())
    check_total({name: repo.files[name] for name in names}, settings.max_model_bytes, repo.id)
    return repo, sorted(names, key=lambda name: name == "config.json")


def _weight_map(repo: hub.Repo, weights: str, deadline: Deadline) -> dict[str, str]:
    """Which shard each tensor is in; empty where the weights are one file."""
    if weights != INDEX:
        return {}
    weight_map = read_index(hub.read_json(repo, INDEX, deadline), repo.id)
    check_shards(sorted(set(weight_map.values())), repo.files, repo.id)
    return weight_map


def _inspect_remote(source: ModelSource, deadline: Deadline, modules: bool, most: int) -> ModelFacts:
    looked = _look(source, deadline, modules)
    repo = looked.repo
    try:
        tensors, size = _remote_weights(looked, deadline, most)
    except Unreachable:
        tensors, size = None, None
    facts = make_facts(source.id, looked.config, revision=repo.commit, license=repo.license, tensors=tensors, size=size)
    return with_modules(facts, looked.modules)


def _remote_weights(looked: _Looked, deadline: Deadline, most: int) -> tuple[dict[str, Tensor] | None, int | None]:
    repo, weights = looked.repo, looked.weights
    weight_map = _weight_map(repo, weights, deadline)
    shards = sorted(set(weight_map.values())) or [weights]
    modules = looked.modules.files if looked.modules else ()
    check_total({name: repo.files[name] for name in (*shards, *modules)}, most, repo.id)
    found, total = dict[str, dict[str, Tensor]](), 0
    for name in shards:
        found[name] = hub.read_header(repo, name, deadline)
        total += len(found[name])
        if total > MAX_TENSORS:
            raise invalid(f"{repo.id!r} has more than {MAX_TENSORS} tensors, which no supported model has")
    tensors = merge_shards(found, weight_map, repo.id)
    return tensors, sum(repo.files[name] for name in shards)
