"""A request on an encoder-decoder, taken apart: what it asks of each stack, its layers numbered from 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from api_schemas.architectures import ARCHITECTURES, ModelFacts
from api_schemas.errors import LayercutError
from api_schemas.per_stack import AMOUNTS
from api_schemas.pruning import PruneSpec
from api_schemas.renumbering import split_layers
from api_schemas.reports import StackMap


@dataclass(frozen=True)
class Part:
    """One stack of a model: ``layers`` of them, ``first`` is the number of its first where layers are numbered through.

    ``spec`` is what is asked of it, plain values only; None where it stays whole.
    """

    stack: str
    layers: int
    first: int
    spec: PruneSpec | None
    is_decoder: bool
    first_stays: str

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Errors within say which stack they are about, and why a first layer that cannot go is protected."""
        try:
            yield
        except LayercutError as error:
            about = f"{self.stack}: " if self.stack else ""
            why = f"; layer 0 cannot go: {self.first_stays}"
            reason = why if self.first_stays and error.param == "/prune/protect_layers" else ""
            raise LayercutError(error.code, f"{about}{error.message}{reason}", param=error.param) from None

    def slice(self, values: Sequence[float] | None) -> list[float] | None:
        """Its own of one value a layer of the whole model."""
        return None if values is None else list(values[self.first : self.first + self.layers])


def parts_of(spec: PruneSpec, model: ModelFacts) -> list[Part]:
    """What ``spec`` asks of each stack of ``model``; raises ``validation_failed`` where it does not say that."""
    row = ARCHITECTURES[model.architecture]
    given = {name: getattr(spec, name) for name in (*AMOUNTS, "protect_layers") if getattr(spec, name) is not None}
    if model.stacks is None:
        for name, value in given.items():
            if isinstance(value, dict):
                message = f"{row.name} has one list of layers: give {name} without naming a stack"
                raise LayercutError("validation_failed", message, param=f"/prune/{name}")
        return [Part("", model.layers, 0, spec, row.kind == "decoder", row.first_stays)]
    for name, value in given.items():
        _check_named(name, value, row.name)
    parts, first = [], 0
    for stack, layers in model.stacks.items():
        parts.append(Part(stack, layers, first, _spec_of(stack, spec, given), stack == "decoder", row.first_stays))
        first += layers
    if all(part.spec is None for part in parts):
        raise LayercutError("validation_failed", "neither the encoder nor the decoder is named", param="/prune")
    return parts


def _check_named(name: str, value: Any, architecture: str) -> None:
    # A ratio means the same for both; a number, or a list, of one of them does not.
    if isinstance(value, dict) or name == "drop_ratio":
        return
    if name in ("target_params", "threshold"):
        message = f"{name} is for models with one list of layers, and {architecture} has two: say how many go with drop"
    else:
        message = (
            f"{architecture} has an encoder and a decoder, each with layers from 0: give {name} as"
            f' {{"encoder": …, "decoder": …}}; one that is not named stays whole'
        )
    raise LayercutError("validation_failed", message, param=f"/prune/{name}")


def _spec_of(stack: str, spec: PruneSpec, given: dict[str, Any]) -> PruneSpec | None:
    amount = next((name for name in AMOUNTS if name in given), None)
    if amount is not None and isinstance(given[amount], dict) and stack not in given[amount]:
        return None
    plain = {name: value.get(stack) if isinstance(value, dict) else value for name, value in given.items()}
    return spec.model_copy(update=plain)


def stack_maps(model: ModelFacts, kept: Sequence[int] | None) -> dict[str, StackMap] | None:
    """For an encoder-decoder, what is kept of each stack, numbered from 0 in it."""
    if model.stacks is None or kept is None:
        return None
    parts = split_layers(kept, list(model.stacks.values()))
    return {
        stack: StackMap(total=total, kept=left, dropped=[layer for layer in range(total) if layer not in left])
        for (stack, total), left in zip(model.stacks.items(), parts, strict=True)
    }
