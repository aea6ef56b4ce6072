"""Where a request names files: for who brings them along, or knows where they lie."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, Literal

What = Literal["model", "dataset"]

#: By the way through the request's JSON. A model's may also be a name on the hub.
PLACES: tuple[tuple[What, tuple[str, ...]], ...] = (
    ("model", ("model",)),
    ("model", ("model", "id")),
    ("dataset", ("task", "dataset")),
    ("dataset", ("task", "dev")),
    ("dataset", ("task", "pairs", "dataset")),
    ("dataset", ("recovery", "text", "dataset")),
    ("dataset", ("prune", "calibration", "dataset")),
)
#: What is no path of any machine, whatever lies there.
_ELSEWHERE = ("job:", "upload:")


def rename_files(request: Any, rename: Callable[[What, str, str], str]) -> Any:
    """``request``, the JSON of a job, with what ``rename`` makes of each path: it is told what the path is of, the
    path, and its JSON pointer.
    """
    renamed = deepcopy(request)
    for what, (*way, last) in PLACES:
        part = renamed
        for name in way:
            part = part.get(name) if isinstance(part, dict) else None
        if isinstance(part, dict) and isinstance(part.get(last), str) and is_path(part[last]):
            part[last] = rename(what, part[last], "/" + "/".join((*way, last)))
    return renamed


def is_path(name: str) -> bool:
    """Whether it may be one; of a model's, a hub id may be as well."""
    return bool(name) and not name.startswith(_ELSEWHERE) and "://" not in name and "\0" not in name
