"""Paths in a job file as the person who wrote it means them: from where the file lies, or from where they stand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from api_schemas.errors import LayercutError
from api_schemas.named_files import What, rename_files


def with_local_paths(request: Any, folders: Sequence[Path]) -> Any:
    """``request``, the JSON of a job, with paths made absolute: of the first of ``folders`` that has them.

    Raises ``dataset_not_found`` and ``model_not_found``, with the places that were looked at.
    """

    def absolute(what: What, given: str, param: str) -> str:
        path = Path(given).expanduser() if given.startswith("~") else Path(given)
        if path.is_absolute():
            return str(path)
        here = next((folder / path for folder in folders if (folder / path).exists()), None)
        if here is not None:
            return str(here.resolve())
        if what == "model" and not given.startswith("."):
            return given  # of the hub
        looked = " or ".join(dict.fromkeys(str(folder) for folder in folders))
        raise LayercutError(f"{what}_not_found", f"there is no {given!r} in {looked}", param=param)

    return rename_files(request, absolute)
