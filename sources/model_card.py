"""The model card, README.md: what it says of the license, without a reader of YAML, which aliases can blow up."""

from __future__ import annotations

import re

from api_schemas.errors import LayercutError
from sources.any_folder import AnyFolder

CARD = "README.md"
#: The front matter stands at the beginning; of a longer one the rest is not read.
START = 64 * 2**10

_FRONT = re.compile(r"\s*---[ \t]*\r?\n(.*?)(?:^---|\Z)", re.DOTALL | re.MULTILINE)
_WORD = r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,99}"
_LICENSE = re.compile(rf"^license:[ \t]*(['\"]?)({_WORD}?)\1[ \t]{{0,99}}(?:#.*)?\r?$", re.MULTILINE)


def license_of(folder: AnyFolder) -> str | None:
    """The license that the card names, where it names one in a word; whatever is wrong with the card is no fault."""
    try:
        text = folder.start(CARD, START).decode("utf-8", "replace")
    except LayercutError:
        return None
    front = _FRONT.match(text)
    found = _LICENSE.search(front[1]) if front else None
    return None if found is None or found[2] in ("null", "true", "false") else found[2]


def is_license(text: str) -> bool:
    """Whether it names one in a word, as a card would."""
    return re.fullmatch(_WORD, text) is not None
