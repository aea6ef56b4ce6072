"""How checkpoints lie in a folder, for those who write them and those who carry them. Imports no torch.

A checkpoint is a folder ``<training>-<steps>`` with two files, and what is in it never changes: it is made under a
hidden name, and the rename is what makes it one. A later one of the same training takes its place.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from workers.removal import remove_tree

WEIGHTS, FACTS = "state.safetensors", "checkpoint.json"

_NAME = re.compile(r"([a-z]+-[0-9]+)-([0-9]{9})")


def checkpoint_name(training: str, step: int) -> str:
    return f"{training}-{step:09d}"


def training_of(name: str) -> str | None:
    """The training that the checkpoint of this name is of; None where it is not the name of one."""
    found = _NAME.fullmatch(name)
    return found[1] if found else None


def newest(names: Iterable[str]) -> dict[str, str]:
    """For each training, the name of its furthest checkpoint; other names are passed over."""
    return {training: name for name in sorted(names) if (training := training_of(name))}


def newest_in(folder: Path) -> dict[str, str]:
    return newest(path.name for path in folder.glob("*")) if folder.is_dir() else {}


def prepare(folder: Path, training: str) -> Path:
    """A new hidden folder beside the checkpoints, to be handed to ``put_in_place``."""
    for path in folder.glob(f".{training}.*"):  # of one that was killed as it wrote, or whom nobody waits for any more
        remove_tree(path)
    # A name of its own: who was left behind and writes on must not write into this one, nor put it in place.
    hidden = folder / f".{training}.{secrets.token_hex(4)}"
    hidden.mkdir(parents=True)
    return hidden


def put_in_place(hidden: Path, name: str) -> None:
    """Make ``hidden``, and what is in it, the checkpoint of that name, and remove the others of its training."""
    folder = hidden.parent
    for path in (*hidden.iterdir(), hidden):
        _sync(path)
    remove_tree(folder / name)
    hidden.rename(folder / name)
    _sync(folder)
    forget(folder, training_of(name), but=name)


def forget(folder: Path, training: str | None, but: str | None = None) -> None:
    for path in folder.glob("*"):
        if path.name != but and training_of(path.name) == training:
            remove_tree(path)


def _sync(path: Path) -> None:
    """A rename may reach the disk before the bytes do, unless they are sent there first."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
