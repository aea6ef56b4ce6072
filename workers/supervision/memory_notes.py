"""What runners learn of the memory that trainings need, carried from one to the next, and read with suspicion.

Who shares no cache shares no notes: they tell what others train, and make whoever believes them train in small steps.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from sources.beneath import open_regular
from workers.supervision.scratch import locked

log = logging.getLogger("layercut.memory")

#: In the runner's own folder, and in that of a pool.
NAME = "micro_batches.json"
MAX_BYTES = 256 * 1024
MAX_SHAPES = 1000


class Learnt(BaseModel):
    """So many rows fit at once, as was learnt at that time (seconds since 1970)."""

    model_config = ConfigDict(extra="forbid")

    rows: int = Field(ge=1, le=1_000_000)
    at: float = Field(ge=0, allow_inf_nan=False)


class Notes(RootModel[dict[Annotated[str, Field(max_length=500)], Learnt]]):
    """By the shape of the training."""


def notes_of(root: Path, pool: str) -> Path:
    """Where the notes of a pool's jobs are kept, beneath ``root``."""
    return root / pool / NAME


def lend_notes(known: Path, folder: Path) -> None:
    """Have what is ``known`` in the runner's own ``folder``."""
    notes = _read(known.parent)
    if notes.root:
        (folder / NAME).write_text(notes.model_dump_json(), encoding="utf-8")


def take_notes(known: Path, folder: Path) -> None:
    """Keep what the runner has added to the notes in its ``folder``; nothing was learnt later than now."""
    known.parent.mkdir(parents=True, exist_ok=True)
    with locked(known.parent):  # several workers of one host may share it
        _take_notes(known, folder)


def _take_notes(known: Path, folder: Path) -> None:
    found, notes = _read(folder), _read(known.parent)
    now = time.time()
    learnt = {shape: note.model_copy(update={"at": min(note.at, now)}) for shape, note in found.root.items()}
    if learnt.items() <= notes.root.items():
        return
    newest = sorted({**notes.root, **learnt}.items(), key=lambda item: item[1].at)[-MAX_SHAPES:]
    new = known.with_name(f".{NAME}.new")
    new.write_text(Notes(dict(newest)).model_dump_json(), encoding="utf-8")
    new.replace(known)


def _read(folder: Path) -> Notes:
    """What cannot be read is as good as nothing: it will be learnt again."""
    try:
        with open_regular(folder, NAME) as file:
            return Notes.model_validate_json(file.read(MAX_BYTES + 1)[:MAX_BYTES])
    except (OSError, ValidationError) as error:
        if not isinstance(error, FileNotFoundError):
            log.warning("the notes on memory in %s are not used: %s", folder.name, type(error).__name__)
        return Notes({})
