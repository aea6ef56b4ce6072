"""The licenses and notices of a model, which go with whatever is made of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sources.beneath import Folder
from sources.file_starts import PICKLES
from sources.model_files import MAX_TERMS, is_terms


def read_terms(folder: Folder, names: Iterable[str]) -> dict[str, bytes]:
    """Those among the files ``names`` that were chosen of ``folder``, as they are; what is no text is left out."""
    found = {name: folder.read(name, MAX_TERMS) for name in names if is_terms(name)}
    return {name: data for name, data in found.items() if b"\0" not in data and not data.startswith(PICKLES)}


def write_terms(terms: dict[str, bytes], folder: Path) -> None:
    """Put them into ``folder``."""
    for name, data in terms.items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o644)
