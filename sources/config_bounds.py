"""Numbers of a ``config.json`` that a stock class would make memory of, bounded by what the files really hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from api_schemas.architectures import Architecture, Config
from sources.config_keys import short
from sources.config_numbers import SIZES, is_size
from sources.headers import invalid
from sources.tensor_shapes import Tensors

#: A size may have a default that no tensor shows, such as the width of a layer that was left out.
LEAST = 4096
#: Where the tensors were not looked at. Those of the largest vocabularies have 262 144 rows.
UNSEEN = 2**20
#: Labels that a head may have, whatever the tensors are: as many as a task may have.
LABELS = 1000
#: Positions that no table has: the longest context of a supported family is a hundredth of it.
POSITIONS = 2**27
LARGEST = 2**53
MOST_GROUPS = 64

#: These size nothing: ids of tokens, bases of frequencies, lengths that attention is cut to.
NO_SIZES = re.compile(
    r".*(_ids?|theta|base|_freq|window|window_size|seed|_len|_length|attention|_tokens?|context|n_ctx|parameters|params|"
    r"positions?|position_embeddings|epoch|steps?|flops|time|version)"
)


def check_bounds(config: Config, architecture: Architecture, tensors: Tensors | None, id: str) -> None:
    """Raise ``model_invalid`` for a number that is larger than anything that the weights have, with both.

    ``tensors`` None: they were not looked at, and the bounds are those that every model keeps.
    """
    largest = None if tensors is None else max((size for one in tensors.values() for size in one.shape), default=0)
    fault = next(_faults(config, architecture, largest), None)
    if fault is not None:
        name, value, most, why = fault
        raise invalid(f"config.json of {id!r} says {short(name)} {short(value)}; it can be {most} at most: {why}")


Fault = tuple[str, Any, int, str]


def _faults(config: Config, architecture: Architecture, largest: int | None) -> Iterator[Fault]:
    why = "that is the largest number in the shapes of its tensors" if largest else "no supported model has more"
    most = UNSEEN if largest is None else max(largest, LEAST)
    labels = max(LABELS, min(most, 2**16))
    yield from _labels(config, labels)
    groups = config.get("inner_group_num")
    if is_size(groups) and groups > MOST_GROUPS:
        yield "inner_group_num", groups, MOST_GROUPS, "each is a layer of its own, and no supported model has more"
    for name in (*SIZES, architecture.hidden_field, architecture.embedding_field):
        value = config.get(name)
        if is_size(value) and value > (POSITIONS if "positions" in name or "position_" in name else most):
            yield name, value, most, why
    for name, value in _numbers(config):
        limit = LARGEST if NO_SIZES.fullmatch(name) or name in ("id2label", "label2id") else max(most, 2**16)
        if abs(value) > limit:
            yield name, value, limit, why


def _labels(config: Config, most: int) -> Iterator[Fault]:
    """A list of names is made of the number alone, one for each."""
    count = config.get("num_labels")
    why = "more labels no head here has"
    if count is not None and (not isinstance(count, int) or not 0 <= count <= most):
        yield "num_labels", count, most, why
    for name in ("id2label", "label2id"):
        if isinstance(named := config.get(name), dict) and len(named) > most:
            yield name, named, most, why


def _numbers(config: Config) -> Iterator[tuple[str, int]]:
    """Every integer at any depth, by the key that it, or the list that it is in, stands under."""
    left: list[tuple[str, Any]] = list(config.items())
    while left:
        name, value = left.pop()
        if isinstance(value, dict):
            left.extend((str(key) if not str(key).isdecimal() else name, inner) for key, inner in value.items())
        elif isinstance(value, list):
            left.extend((name, inner) for inner in value if isinstance(inner, (int, list, dict)))
        elif isinstance(value, int) and not isinstance(value, bool):
            yield name, value
