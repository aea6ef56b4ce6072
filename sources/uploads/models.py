"""A look at a model that was sent, where it is kept: its facts, from its config and the headers of its weights."""

from __future__ import annotations

from dataclasses import dataclass, field

from api_schemas.architectures import ModelFacts
from api_schemas.errors import LayercutError
from sources.facts import PICKLES, choose_weights
from sources.file_starts import check_starts
from sources.headers import invalid
from sources.model_files import is_allowed
from sources.stored_files import StoredFiles
from sources.stored_model import stored_facts
from sources.uploads.looks import cut

#: Of names that are not read, so many are told, and characters of each.
TOLD, TOLD_NAME = 10, 100


@dataclass
class LeftOut:
    """Files that came and are not kept: how many, and the first names of them. Each is one of thousands, perhaps."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.names) < TOLD:
            self.names.append(cut(name, TOLD_NAME))
        elif name.endswith(PICKLES) and not any(one.endswith(PICKLES) for one in self.names):
            # By that one alone it is told why there are no weights.
            self.names[-1] = cut(name, TOLD_NAME)


def is_read(name: str) -> bool:
    """Whether a file of that name is any that is read of a model."""
    return is_allowed(name)


def left_out(others: LeftOut) -> list[str]:
    """Notes of files that came and are not kept."""
    if not others.count:
        return []
    more = others.count - len(others.names)
    shown = ", ".join(sorted(others.names)) + (f" and {more} more" if more else "")
    return [f"left out, as no job reads them (safetensors and configuration only): {shown}"]


def inspect_model(files: StoredFiles, others: LeftOut, *, most: int) -> tuple[ModelFacts, list[str]]:
    """The facts of the model, whose weights may have ``most`` bytes, and notes. ``others`` came and are not kept.

    Raises ``model_invalid``, ``model_not_allowed``, ``unsupported_architecture`` and ``ceiling_passed``.
    """
    try:
        check_starts(files)
        choose_weights([*files.files, *others.names], files.id)
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
