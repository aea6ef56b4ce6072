"""Names of files that are sent: such that every disk and every store takes them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from api_schemas.errors import LayercutError
from api_schemas.uploads import LONGEST_NAME, LONGEST_PART, UploadKind
from sources.uploads.datasets import check_kind
from sources.uploads.models import is_read

#: What the store calls a file that it has not written to its end; its list of files; where unfinished files lie.
_UNFINISHED = re.compile(r".*#[0-9]+")
RESERVED = "manifest.json"
PARTS = "parts"

#: Of a model that comes as one file, and is unpacked.
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")


def is_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVES)


def leads_elsewhere(name: str) -> str | None:
    """Why ``name`` is no path beneath a folder, on every system; None where it is one."""
    if not name.isprintable() or "\\" in name:
        return "it has a character that is none of a name"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "it leads to another folder"
    return None


def check_name(name: str, param: str | None = None) -> None:
    """Raise ``validation_failed`` for what cannot be the name of a file."""
    why = wrong_name(name)
    if why is not None:
        raise LayercutError("validation_failed", f"a file cannot be called {name[:200]!r}: {why}", param=param)


def wrong_name(name: str) -> str | None:
    """Why no file that is kept can have that name, or path; None where it can."""
    if not name:
        return 'give each file its name, as in filename="train.csv"'
    if too_long(name):
        return f"it has more than {LONGEST_NAME} bytes"
    if any(len(part.encode("utf-8", "replace")) > LONGEST_PART for part in name.split("/")):
        return f"a file, and a folder, has a name of at most {LONGEST_PART} bytes"
    if name.rsplit("/", 1)[-1].casefold() == RESERVED or name.split("/", maxsplit=1)[0] == PARTS:
        return "that name is taken"
    return "it ends with # and a number" if _UNFINISHED.fullmatch(name) else leads_elsewhere(name)


def too_long(name: str) -> bool:
    return len(name.encode("utf-8", "replace")) > LONGEST_NAME


def check_names(names: Iterable[str], kind: UploadKind) -> None:
    """Raise for the first of the announced ``names`` that cannot be sent, or is no file that a job reads."""
    seen: set[str] = set()
    names = list(names)
    for at, name in enumerate(names):
        param = f"/files/{at}/name"
        check_name(name, param)
        # Some disks know no difference.
        if name.casefold() in seen:
            raise LayercutError("validation_failed", f"two files are called {name!r}, in any letters", param=param)
        seen.add(name.casefold())
        if not (kind is UploadKind.MODEL and len(names) == 1 and is_archive(name)):
            check_read(name, kind, param)


def check_read(name: str, kind: UploadKind, param: str | None = None) -> None:
    """Raise for a file that no job reads."""
    if kind is UploadKind.MODEL and not is_read(name):
        raise LayercutError("model_invalid", _NOT_READ.format(name=name[:200]), param=param)
    if kind is UploadKind.DATASET:
        if "/" in name or name.startswith("."):
            raise LayercutError("dataset_invalid", f"{name[:200]!r}: a dataset's files lie in no folder", param=param)
        check_kind(name, param)


_NOT_READ = (
    "{name!r} is no file that is read of a model: safetensors, their index, configuration, tokenizer and modules of"
    " sentence-transformers are, and no pickle and no code. Leave it out"
)
