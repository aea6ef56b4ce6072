"""Things of the cache, read back. A runner wrote them, so they are read as a stranger's: bounded, and by their form.

What is wrong raises ``Unusable``, and whoever reads goes on as if it were not cached. Numbers that could be right are
believed: who shares a cache trusts whoever writes to it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from api_schemas.errors import LayercutError
from api_schemas.reports import Bracket
from api_schemas.strategies import MEASURES, LayerImportance
from sources.beneath import open_regular
from sources.facts import MAX_LAYERS
from sources.strict_json import MIB, Limit, parse

IMPORTANCE, BRACKET = "layer_importance.json", "bracket.json"

GIB = 2**30
#: Of one importance, and measures in one file. A number takes 25 bytes at most.
NUMBER_BYTES, MOST_MEASURES = 32, 16
#: Of one bracket. Every strategy has one candidate at most, which is tried on some rungs.
MOST_CANDIDATES, MOST_TRIALS = 32, 16


class Unusable(LayercutError):
    """A thing of the cache is not what it should be."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__("internal", f"{name} of the cache cannot be used: {what}")


@dataclass(frozen=True)
class Kind:
    """``bytes``: of all files of the thing together; None where only the cache's own room bounds it."""

    bytes: int | None
    files: tuple[str, ...]


def importance_limit(layers: int) -> Limit:
    """Of the file of the importance of so many layers: one measure is of pairs of depths."""
    numbers = (layers + 1) ** 2 + MOST_MEASURES * (layers + 1)
    return Limit(NUMBER_BYTES * numbers + 2**14, 2 * numbers + 2**10)


def bracket_limit(layers: int) -> Limit:
    """Of the file of a bracket of a model of so many layers; one of a thousand takes forty KB."""
    return Limit(MOST_CANDIDATES * (8 * layers + 4096), MOST_CANDIDATES * (layers + 256))


#: By the file's name.
LIMITS = {
    IMPORTANCE: importance_limit(MAX_LAYERS),
    BRACKET: bracket_limit(MAX_LAYERS),
    "trained.json": Limit(2**14, 200),
    "scores.json": Limit(MIB, 20_000),
    "padding.json": Limit(2**10, 20),
    "latency.json": Limit(2**18, 4000),
}

#: What a thing of each kind may take, and its files that are JSON. Those of the others are read by the runner alone.
KINDS = {
    "tokenized_data": Kind(None, ("padding.json",)),
    "baseline": Kind(None, ("trained.json",)),
    "baseline_logits": Kind(16 * GIB, ()),
    "baseline_scores": Kind(2 * GIB, ("scores.json",)),
    "layer_importance": Kind(LIMITS[IMPORTANCE].bytes, (IMPORTANCE,)),
    "search_bracket": Kind(LIMITS[BRACKET].bytes, (BRACKET,)),
    "latency": Kind(LIMITS["latency.json"].bytes, ("latency.json",)),
}


def check_files(kind: str, folder: Path) -> None:
    """Raise ``Unusable`` for a file of the thing in ``folder`` that no reader would take, whatever it is read for."""
    for name in KINDS[kind].files:
        if (folder / name).exists():
            read_json(folder / name)


def read_json(path: Path, limit: Limit | None = None) -> Any:
    """What the file says, within ``limit``, or that of its name; raises ``Unusable``."""
    most = limit or LIMITS[path.name]
    try:
        with open_regular(path.parent, path.name) as file:
            return parse_json(file.read(most.bytes + 1), path.name, most)
    except OSError as error:
        raise Unusable(path.name, error.strerror or type(error).__name__) from None


def parse_json(data: bytes, name: str, limit: Limit) -> Any:
    """What ``data``, of the file ``name``, says: no more than ``limit``, and no number that is not finite."""
    if len(data) > limit.bytes:
        raise Unusable(name, f"it has more than {limit.bytes} bytes")
    try:
        found = parse(data, name, limit)
        # Also what is written as one, and is too large for one.
        json.dumps(found, allow_nan=False)
    except LayercutError as error:
        raise Unusable(name, error.message) from None
    except ValueError:
        raise Unusable(name, "a number in it is not finite") from None
    return found


def as_importance(found: Any, layers: int, measure: str | None) -> dict[str, LayerImportance]:
    """``found`` as the importance of so many layers, with that by ``measure``; raises ``Unusable``."""
    if not isinstance(found, dict) or not 0 < len(found) <= MOST_MEASURES or measure not in found:
        raise Unusable(IMPORTANCE, f"it does not have {measure}, or not as measures by name")
    for name, values in found.items():
        if not _of_layers(values, layers, blocks=name in MEASURES and MEASURES[name].blocks):
            raise Unusable(IMPORTANCE, f"{name[:100]} is not one number for each of {layers} layers")
    return found


def _of_layers(values: Any, layers: int, *, blocks: bool) -> bool:
    if not blocks:
        return _are_numbers(values, layers)
    depths = layers + 1
    return isinstance(values, list) and len(values) == depths and all(_are_numbers(row, depths) for row in values)


def _are_numbers(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(type(value) in (float, int) for value in values)


def as_bracket(found: Any, layers: int, drop: int) -> Bracket:
    """``found`` as the bracket of the candidates that leave ``drop`` of so many layers out; raises ``Unusable``."""
    try:
        bracket = Bracket.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Unusable(BRACKET, f"{first['loc']}: {first['msg']}") from None
    if not 0 < len(bracket.candidates) <= MOST_CANDIDATES:
        raise Unusable(BRACKET, f"it has {len(bracket.candidates)} candidates")
    if not all(0 < len(candidate.trials) <= MOST_TRIALS for candidate in bracket.candidates):
        raise Unusable(BRACKET, "a candidate was never tried, or too often")
    for candidate in bracket.candidates:
        gone = set(candidate.dropped)
        if bracket.drop != drop or len(gone) != drop or len(candidate.dropped) != drop or not gone < set(range(layers)):
            raise Unusable(BRACKET, f"a candidate does not leave {drop} of {layers} layers out")
    return bracket
