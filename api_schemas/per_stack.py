"""Values that an encoder-decoder takes for each of its stacks by name."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import Discriminator, Tag

Value = TypeVar("Value")

StackName = Literal["encoder", "decoder"]

# The two forms of a value, as pydantic puts them into the place of an error.
FORMS = ("(plain)", "(by stack)")

#: A value, or one for each stack by name. Told apart by their look, so that an error is about the form that was meant.
PerStack = Annotated[
    Annotated[Value, Tag(FORMS[0])] | Annotated[dict[StackName, Value], Tag(FORMS[1])],
    Discriminator(lambda value: FORMS[isinstance(value, dict)]),
]

AMOUNTS = ("drop", "drop_ratio", "drop_layers", "keep_layers", "target_params", "threshold")


def plain(value: Value | dict[StackName, Value] | None) -> Value | None:
    """For a part's spec, in which no stack is named any more."""
    assert not isinstance(value, dict)
    return value
