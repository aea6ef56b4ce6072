"""Names of tables as people write them: in other case, with hyphens or without. And which of ours is near to another.

``SST-2`` is what the task is called where it comes from: others have names of their own for what our tables hold, so
that a spelling that can mean one name alone is taken for that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

#: In characters: what is longer is near to none of ours, and looking for it costs by its length.
LONGEST = 80
#: Of a beginning, in characters: `f1` begins nothing, `matthews` does.
SHORTEST_START = 3


def loose(name: str) -> str:
    """What all spellings of a name have in common."""
    return re.sub(r"[-_\s]+", "", name).casefold()


def spelled(name: Any, names: Iterable[str]) -> Any:
    """The one of ``names`` that ``name`` is another spelling of, else ``name``."""
    if not isinstance(name, str) or len(name) > LONGEST:
        return name
    return _by_loose(tuple(names)).get(loose(name), name)


@lru_cache(maxsize=256)
def _by_loose(names: tuple[str, ...]) -> dict[str, str]:
    # A study asks for the same tables thousands of times.
    return {loose(known): known for known in names}


def near(name: str, names: Iterable[str]) -> list[str]:
    """The three of ``names`` at most that are nearest, or begin as ``name`` does or with it."""
    meant, ours = loose(name[:LONGEST]), {loose(known): known for known in names}
    if meant in ours:
        return [ours[meant]]
    found = get_close_matches(meant, ours, n=3, cutoff=0.6)
    begun = [one for one in ours if len(meant) >= SHORTEST_START and one.startswith(meant)]
    return [ours[one] for one in dict.fromkeys([*found, *begun])][:3]


def hint(name: str, names: Iterable[str]) -> str:
    """The end of a sentence that refuses ``name``: the near ones, or all."""
    known = list(names)
    close = near(name, known)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"


@dataclass(frozen=True)
class NameOf:
    """Of a string in a request: one of ``names``, however it is spelled. What is none of them stays as it is, and is
    for who looks it up to refuse.

    In the schema it is an enum of its own ``title``, beside any string: so a client that is generated knows the names
    and takes those that a later version adds, and the request of a job can be shown as it was sent.
    """

    title: str
    names: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(lambda value: spelled(value, self.names), handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [self.schema, handler(core)]}

    @property
    def schema(self) -> JsonSchemaValue:
        """Of the names as they stand in the table."""
        return {"type": "string", "title": self.title, "enum": list(self.names)}
