"""The layers of a model as a strip: which stay and which go, numbered from 0 in the original model."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    number: int
    kept: bool

    @property
    def label(self) -> str:
        return f"Layer {self.number}: {'kept' if self.kept else 'dropped'}"


@dataclass(frozen=True)
class Strip:
    """``sentence`` says the same for who cannot see it."""

    layers: list[Layer]
    sentence: str


def strip_of(total: int, kept: Collection[int] | None) -> Strip | None:
    """None until it is known which stay."""
    if kept is None:
        return None
    stay = frozenset(kept)
    return Strip([Layer(at, at in stay) for at in range(total)], f"{len(stay)} of {total} layers stay")
