"""What runners learn of the memory that trainings need, carried from one to the next, and read with suspicion."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from sources.beneath import open_regular

log = logging.getLogger("layercut.memory")

MAX_BYTES = 256 * 1024
MAX_SHAPES = 1000


class Learnt(BaseModel):
    """So many rows fit at once, as was learnt at that time (seconds since 1970)."""

    model_config = ConfigDict(extra="forbid")

    rows: int = Field(ge=1, le=1_000_000)
    at: float = Field(ge=0, allow_inf_nan=False)


class Notes(RootModel[dict[str, Learnt]]):
    """By the shape of the training."""


def lend_notes(known: Path, folder: Path) -> None:
    """Have what is known in the runner's own ``folder``."""
    notes = _read(known.parent, known.name)
    if notes.root:
        (folder / known.name).write_text(notes.model_dump_json(), encoding="utf-8")


def take_notes(known: Path, folder: Path) -> None:
    """Keep what the runner has added to the notes in its ``folder``."""
    found, notes = _read(folder, known.name), _read(known.parent, known.name)
    if found.root.items() <= notes.root.items():
        return
    newest = sorted({**notes.root, **found.root}.items(), key=lambda item: item[1].at)[-MAX_SHAPES:]
    new = known.with_name(f".{known.name}.new")
    new.write_text(Notes(dict(newest)).model_dump_json(), encoding="utf-8")
    new.replace(known)


def _read(folder: Path, name: str) -> Notes:
    """What cannot be read is as good as nothing: it will be learnt again."""
    try:
        with open_regular(folder, name) as file:
            return Notes.model_validate_json(file.read(MAX_BYTES + 1)[:MAX_BYTES])
    except (OSError, ValidationError) as error:
        if not isinstance(error, FileNotFoundError):
            log.warning("the notes on memory in %s are not used: %s", folder.name, type(error).__name__)
        return Notes({})
