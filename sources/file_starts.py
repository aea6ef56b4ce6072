"""Files that are something else than their name says, told by how they begin."""

from __future__ import annotations

from pathlib import PurePosixPath

from sources.any_folder import AnyFolder
from sources.headers import invalid

#: Lower case; what the file is, and how to get the one that was meant.
STARTS = (
    (b"version https://git-lfs.github.com/spec/", "a git-lfs pointer, not the file itself: run git lfs pull"),
    (b"<!doctype html", "a web page, not the file itself: download it from its raw address"),
    (b"<html", "a web page, not the file itself: download it from its raw address"),
)
#: Of what may run code when it is loaded: a pickle, and a zip, which is what torch puts one in.
PICKLES = (b"PK\x03\x04", *(bytes((0x80, protocol)) for protocol in range(2, 6)))
CHECKED = {".safetensors", ".json", ".txt", ".model"}


def check_starts(folder: AnyFolder) -> None:
    """Raise ``model_invalid`` for a file of a model or its tokenizer that stands in for another, or is none at all."""
    for name in folder.names():
        if PurePosixPath(name).suffix not in CHECKED:
            continue
        start = folder.start(name, 64).lstrip().lower()
        what = next((what for begins, what in STARTS if start.startswith(begins)), None)
        if what is not None:
            raise invalid(f"{name} is {what}")
