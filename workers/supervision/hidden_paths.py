"""What a runner says goes to people and to the store: where things lie on this host is not for them."""

from __future__ import annotations

import os
import re
import site
import sys
from pathlib import Path

CODE = Path(__file__).resolve().parents[2]


class PathHider:
    """Takes the host's folders out of a text: of this attempt, of the code, of Python and its libraries."""

    def __init__(self, scratch: Path) -> None:
        folders = {str(scratch): "", **dict.fromkeys(_libraries(), ""), str(CODE): ""}
        names = sorted((name for name in folders if name not in ("", "/")), key=len, reverse=True)
        self._known = re.compile("|".join(f"{re.escape(name)}/?" for name in names))

    def __call__(self, text: str) -> str:
        return self._known.sub("", text)


def _libraries() -> set[str]:
    found = {*site.getsitepackages(), sys.prefix, sys.base_prefix, os.path.dirname(os.__file__)}
    return found | {os.path.realpath(name) for name in found}
