"""Models: found under an allowed root or on the hub, looked at without loading them, and fetched for the runner."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.repocard import metadata_load
from huggingface_hub.utils import validate_repo_id
from yaml import YAMLError

from api_schemas.architectures import ARCHITECTURES, ModelFacts
from api_schemas.errors import LayercutError
from api_schemas.requests import ModelRef
from sources import hub
from sources.facts import INDEX, WEIGHTS, check_config, choose_weights, make_facts, merge_shards, read_index
from sources.file_starts import check_starts
from sources.headers import Tensor, invalid, read_layout
from sources.model_files import PATTERNS
from sources.paths import inside_roots, is_inside
from sources.sentence_modules import MODULE_FILES
from sources.sentence_transformers import ModelFiles, Modules, check_base, read_modules
from sources.settings import SourceSettings
from sources.tensor_shapes import token_rows
from sources.tokenizer_files import check_tokenizer

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/+-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


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
    if _SCHEME.match(ref.id):
        raise LayercutError(
            "model_not_allowed",
            f"{ref.id!r} is not supported: give a hub id (owner/name) or the absolute path of a folder",
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
    ``model_not_found``, ``model_not_allowed``, ``model_invalid``, ``unsupported_architecture``.
    """
    source = locate(ref, settings)
    if source.folder is not None:
        return read_facts(source.folder, ref, modules=modules)
    try:
        return _inspect_remote(source, hub.Deadline(timeout or settings.hub_timeout_seconds), modules)
    except hub.Unreachable:
        folder = _cached(source)
        return None if folder is None else read_facts(folder, ref, modules=modules)


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
    deadline = hub.Deadline(settings.hub_timeout_seconds)
    return hub.fetch(source.id, source.revision, PATTERNS, what="model", ask=lambda: _look(source, deadline, modules))


def read_facts(folder: Path, ref: ModelRef, *, modules: bool = True) -> ModelFacts:
    """The facts of the model in ``folder`` (that ``fetch`` gave); every header is read, no weight is.

    Raises ``model_invalid``, ``model_not_allowed``, ``unsupported_architecture``.
    """
    found = folder_modules(folder, ref.id) if modules else None
    if not (folder / "config.json").is_file():
        raise invalid(f"{ref.id!r} has no config.json: it is not the folder of a transformers model")
    check_starts(folder)
    config = _read_json(folder / "config.json")
    architecture = check_config(config, ref.id)
    names = {path.name for path in folder.iterdir() if path.is_file()}
    weights = choose_weights(names, ref.id)
    weight_map = read_index(_read_json(folder / INDEX), ref.id) if weights == INDEX else {}
    shards = sorted(set(weight_map.values())) or [weights]
    _check_shards(shards, names, ref.id)
    tensors = merge_shards({name: read_layout(folder / name).tensors for name in shards}, weight_map, ref.id)
    facts = make_facts(
        ref.id,
        config,
        revision=commit_of(folder),
        license=_license(folder),
        tensors=tensors,
        size=sum((folder / name).stat().st_size for name in shards),
    )
    check_tokenizer(folder, token_rows(tensors) or facts.vocabulary, architecture.unused_tokens, ref.id)
    return _with_modules(facts, found)


def commit_of(folder: Path) -> str | None:
    """Of a snapshot in a hub's cache, which is named after its commit; None for another folder."""
    return folder.name if folder.parent.name == "snapshots" and _COMMIT.fullmatch(folder.name) else None


def folder_modules(folder: Path, id: str) -> Modules | None:
    """The modules of a sentence-transformers folder on this machine, of which every header is read; None for another.

    Raises ``model_invalid`` and ``model_not_allowed``.
    """
    local = ModelFiles(id, lambda name: (folder / name).is_file(), lambda name: _read_json(folder / name, name))
    found = read_modules(local)
    for name in found.files if found else ():
        if name.endswith(".safetensors"):
            read_layout(folder / name)
    return found


def _with_modules(facts: ModelFacts, modules: Modules | None) -> ModelFacts:
    if modules is None:
        return facts
    check_base(ARCHITECTURES[facts.architecture], facts.id)
    return facts.model_copy(update={"modules": modules.names})


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
    paths = [*folder.iterdir(), *(path for pattern in MODULE_FILES if "/" in pattern for path in folder.glob(pattern))]
    out = [path for path in paths if not is_inside(path, settings.model_roots)]
    if out:
        raise LayercutError(
            "model_not_allowed",
            f"{str(out[0].relative_to(folder))!r} in {ref.id!r} is a link that leads out of the allowed folders",
            param="/model",
        )
    return folder


def _cached(source: ModelSource) -> Path | None:
    """The snapshot in the hub's cache, unless only a part of it is there."""
    try:
        folder = hub.cached(source.id, source.revision, PATTERNS, what="model")
    except hub.Unreachable:
        return None
    whole = (folder / "config.json").is_file() and any((folder / name).is_file() for name in (WEIGHTS, INDEX))
    return folder if whole else None


@dataclass(frozen=True)
class _Looked:
    """A repository, its config, its file of weights and its modules, once they are known to be usable."""

    repo: hub.Repo
    config: dict[str, Any]
    weights: str
    modules: Modules | None


def _look(source: ModelSource, deadline: hub.Deadline, modules: bool) -> _Looked:
    repo = hub.look(source.id, source.revision, deadline)
    remote = ModelFiles(source.id, lambda name: name in repo.files, lambda name: hub.read_json(repo, name, deadline))
    found = read_modules(remote) if modules else None
    if "config.json" not in repo.files:
        raise invalid(f"{source.id!r} has no config.json: it is not a transformers model")
    config = hub.read_json(repo, "config.json", deadline)
    check_config(config, source.id)
    return _Looked(repo, config, choose_weights(repo.files, source.id), found)


def _inspect_remote(source: ModelSource, deadline: hub.Deadline, modules: bool) -> ModelFacts:
    looked = _look(source, deadline, modules)
    repo = looked.repo
    try:
        tensors, size = _remote_weights(repo, looked.weights, deadline)
    except hub.Unreachable:
        tensors, size = None, None
    facts = make_facts(source.id, looked.config, revision=repo.commit, license=repo.license, tensors=tensors, size=size)
    return _with_modules(facts, looked.modules)


def _remote_weights(
    repo: hub.Repo, weights: str, deadline: hub.Deadline
) -> tuple[dict[str, Tensor] | None, int | None]:
    weight_map = read_index(hub.read_json(repo, INDEX, deadline), repo.id) if weights == INDEX else {}
    shards = sorted(set(weight_map.values())) or [weights]
    _check_shards(shards, repo.files, repo.id)
    tensors = merge_shards({name: hub.read_header(repo, name, deadline) for name in shards}, weight_map, repo.id)
    return tensors, sum(repo.files[name] for name in shards)


def _check_shards(shards: list[str], present: Collection[str], id: str) -> None:
    missing = [name for name in shards if name not in present]
    if missing:
        raise invalid(f"{INDEX} of {id!r} lists {missing[0]!r}, which is not there")


def _read_json(path: Path, name: str | None = None) -> Any:
    """``name`` is what errors call it: by default its own."""
    name = name or path.name
    if path.stat().st_size > hub.MAX_JSON:
        raise invalid(f"{name} is larger than {hub.MAX_JSON // 2**20} MiB")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise invalid(f"{name} is not JSON: {error}") from None


def _license(folder: Path) -> str | None:
    """What the model card says, where it says one thing."""
    card = folder / "README.md"
    if not card.is_file() or card.stat().st_size > hub.MAX_JSON:
        return None
    try:
        metadata = metadata_load(card) or {}
    except (OSError, ValueError, YAMLError):
        return None
    value = metadata.get("license")
    return value if isinstance(value, str) else None
