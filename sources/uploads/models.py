"""A look at a model that was sent, where it is kept: its facts, from its config and the headers of its weights."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

from api_schemas.architectures import ModelFacts
from api_schemas.errors import LayercutError
from sources.delivered import DeliveredFiles, delivered_facts
from sources.facts import choose_weights
from sources.file_starts import CHECKED, STARTS
from sources.headers import invalid
from sources.model_files import is_allowed

#: Of names that are not read, so many are told.
TOLD = 10


@dataclass(frozen=True)
class UploadedFiles(DeliveredFiles):
    """The files of an upload, of which ``job`` is the id."""

    @property
    def id(self) -> str:
        return f"upload:{self.job}"


def is_read(name: str) -> bool:
    """Whether a file of that name is any that is read of a model."""
    return is_allowed(name)


def left_out(names: Collection[str]) -> list[str]:
    """Notes of files that came and are not kept."""
    if not names:
        return []
    shown = ", ".join(sorted(names)[:TOLD]) + (f" and {len(names) - TOLD} more" if len(names) > TOLD else "")
    return [f"left out, as no job reads them (safetensors and configuration only): {shown}"]


def inspect_model(files: UploadedFiles, others: Collection[str], *, most: int) -> tuple[ModelFacts, list[str]]:
    """The facts of the model, whose weights may have ``most`` bytes, and notes. ``others`` are names of files that came
    and are not kept.

    Raises ``model_invalid``, ``model_not_allowed``, ``unsupported_architecture`` and ``ceiling_passed``.
    """
    try:
        _check_starts(files)
        choose_weights([*files.files, *others], files.id)
        if "config.json" not in files.files:
            raise invalid(f"{files.id!r} has no config.json")
        return _facts(files, most)
    except LayercutError as error:
        # No field names it, and an upload that is refused has no name that would say anything.
        raise LayercutError(error.code, error.message.replace(repr(files.id), "the model")) from None


def _facts(files: UploadedFiles, most: int) -> tuple[ModelFacts, list[str]]:
    try:
        return delivered_facts(files, modules=True, most=most), []
    except LayercutError as error:
        if "modules.json" not in files.files:
            raise
        # It may serve without what sentence-transformers adds: whoever asks for that is told then.
        return delivered_facts(files, modules=False, most=most), [f"as a transformer alone: {error.message}"]


def _check_starts(files: UploadedFiles) -> None:
    """Raise ``model_invalid`` for a file that stands in for another."""
    for name in sorted(files.files):
        if PurePosixPath(name).suffix in CHECKED:
            start = files.start(name, 64).lstrip().lower()
            what = next((what for begins, what in STARTS if start.startswith(begins)), None)
            if what is not None:
                raise invalid(f"{name} is {what}")
