"""A look at a model that was sent, where it is kept: its facts, from its config and the headers of its weights."""

from __future__ import annotations

from collections.abc import Collection

from api_schemas.architectures import ModelFacts
from api_schemas.errors import LayercutError
from sources.facts import choose_weights
from sources.file_starts import check_starts
from sources.headers import invalid
from sources.model_files import is_allowed
from sources.stored_files import StoredFiles
from sources.stored_model import stored_facts

#: Of names that are not read, so many are told.
TOLD = 10


def is_read(name: str) -> bool:
    """Whether a file of that name is any that is read of a model."""
    return is_allowed(name)


def left_out(names: Collection[str]) -> list[str]:
    """Notes of files that came and are not kept."""
    if not names:
        return []
    shown = ", ".join(sorted(names)[:TOLD]) + (f" and {len(names) - TOLD} more" if len(names) > TOLD else "")
    return [f"left out, as no job reads them (safetensors and configuration only): {shown}"]


def inspect_model(files: StoredFiles, others: Collection[str], *, most: int) -> tuple[ModelFacts, list[str]]:
    """The facts of the model, whose weights may have ``most`` bytes, and notes. ``others`` are names of files that came
    and are not kept.

    Raises ``model_invalid``, ``model_not_allowed``, ``unsupported_architecture`` and ``ceiling_passed``.
    """
    try:
        check_starts(files)
        choose_weights([*files.files, *others], files.id)
        if "config.json" not in files.files:
            raise invalid(f"{files.id!r} has no config.json")
        return _facts(files, most)
    except LayercutError as error:
        # No field names it, and an upload that is refused has no name that would say anything.
        raise LayercutError(error.code, error.message.replace(repr(files.id), "the model")) from None


def _facts(files: StoredFiles, most: int) -> tuple[ModelFacts, list[str]]:
    try:
        return stored_facts(files, modules=True, most=most), []
    except LayercutError as error:
        if "modules.json" not in files.files:
            raise
        # It may serve without what sentence-transformers adds: whoever asks for that is told then.
        return stored_facts(files, modules=False, most=most), [f"as a transformer alone: {error.message}"]
