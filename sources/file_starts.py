"""Files that are something else than their name says, told by how they begin."""

from __future__ import annotations

from pathlib import Path

from sources.headers import invalid

#: Lower case; what the file is, and how to get the one that was meant.
STARTS = (
    (b"version https://git-lfs.github.com/spec/", "a git-lfs pointer, not the file itself: run git lfs pull"),
    (b"<!doctype html", "a web page, not the file itself: download it from its raw address"),
    (b"<html", "a web page, not the file itself: download it from its raw address"),
)
CHECKED = {".safetensors", ".json", ".txt", ".model"}


def check_starts(folder: Path) -> None:
    """Raise ``model_invalid`` for a file of a model or its tokenizer that stands in for another."""
    for path in sorted(folder.iterdir()):
        if path.suffix not in CHECKED or not path.is_file():
            continue
        with path.open("rb") as file:
            start = file.read(64).lstrip().lower()
        what = next((what for begins, what in STARTS if start.startswith(begins)), None)
        if what is not None:
            raise invalid(f"{path.name} is {what}")
