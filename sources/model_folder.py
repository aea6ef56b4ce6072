"""A model's folder, on this machine or where it is stored, looked at without loading it: every file is bounded."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from api_schemas.architectures import ARCHITECTURES, ModelFacts
from api_schemas.requests import ModelRef
from sources.any_folder import AnyFolder
from sources.beneath import Folder
from sources.chosen_files import choose_files, read_headers, read_json
from sources.config_keys import KEYS, check_keys
from sources.facts import check_config, make_facts
from sources.file_starts import check_starts
from sources.headers import invalid
from sources.inputs import Inputs, descriptor_path
from sources.model_card import license_of
from sources.model_files import check_total
from sources.sentence_transformers import ModelFiles, Modules, check_base, read_modules
from sources.strict_json import limit_of
from sources.tensor_shapes import token_rows
from sources.tokenizer_files import check_tokenizer

TEMPLATES = "additional_chat_templates"


def folder_of(path: Path, id: str) -> Folder:
    """A folder that this machine's own programs made: a staged one, or a snapshot in the hub's cache.

    The files of a snapshot are links to blobs two floors up.
    """
    real = path.resolve()
    return Folder(real.parents[1] if real.parent.name == "snapshots" else real, real, id=id)


def opened_folder(path: Path, id: str, inputs: Inputs | None) -> Folder:
    """As ``folder_of``; of ``inputs``, with the files that were handed over open."""
    if inputs is None:
        return folder_of(path, id)
    # The folders of two models have files of the same names.
    within = f"{path.name}/"
    handed = {
        name.removeprefix(within): Path(descriptor_path(place))
        for place, name in enumerate(inputs.descriptors)
        if name.startswith(within)
    }
    return Folder(path, path, id=id, handed=handed)


def read_facts(folder: AnyFolder, ref: ModelRef, *, modules: bool = True, most: int | None = None) -> ModelFacts:
    """The facts of the model in ``folder``; every header is read, no weight is. ``most`` is of bytes that its weights
    may have, those of its modules too.

    Raises ``model_invalid``, ``model_not_allowed``, ``unsupported_architecture``, ``ceiling_passed``.
    """
    names = folder.names()
    found = folder_modules(folder) if modules else None
    if "config.json" not in names:
        raise invalid(f"{ref.id!r} has no config.json: it is not the folder of a transformers model")
    check_starts(folder)
    config = read_json(folder, "config.json")
    architecture = check_config(config, ref.id)
    check_small_files(folder, names)
    chosen = choose_files(folder, found)
    if most is not None:
        check_total(chosen.sizes, most, ref.id)
    facts = make_facts(
        ref.id,
        config,
        revision=folder.commit,
        license=license_of(folder),
        tensors=chosen.tensors,
        size=chosen.weights_bytes,
    )
    check_tokenizer(folder, token_rows(chosen.tensors) or facts.vocabulary, architecture.unused_tokens)
    return with_modules(facts, found)


def folder_modules(folder: AnyFolder) -> Modules | None:
    """The modules of a sentence-transformers folder on this machine, of which every header is read; None for another.

    Raises ``model_invalid`` and ``model_not_allowed``.
    """
    found = read_modules(ModelFiles(folder.id, folder.has, lambda name: read_json(folder, name)))
    if found is not None:
        read_headers(folder, [name for name in found.files if name.endswith(".safetensors")])
    return found


def with_modules(facts: ModelFacts, modules: Modules | None) -> ModelFacts:
    """``facts``, with the modules around the model named."""
    if modules is None:
        return facts
    check_base(ARCHITECTURES[facts.architecture], modules, facts.hidden_size, facts.id)
    return facts.model_copy(update={"modules": modules.names})


def check_small_files(folder: AnyFolder, names: Collection[str]) -> None:
    """Raise ``model_not_allowed`` for a name of a file or of code in any file that a stock loader reads."""
    for name in KEYS:
        if name in names and name != "config.json":
            check_keys(name, read_json(folder, name), folder.id)
    for name in folder.names(TEMPLATES) if TEMPLATES in names else ():
        folder.read(f"{TEMPLATES}/{name}", limit_of(name))
