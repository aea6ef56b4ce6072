"""The files of one model, in a folder of this machine or where only ranges of them are read."""

from __future__ import annotations

from typing import Protocol

from sources.headers import Layout


class AnyFolder(Protocol):
    """``id`` is how errors call it; names are paths with "/". Methods raise ``LayercutError``: ``model_invalid``, or
    ``model_not_allowed`` for what leads out.
    """

    @property
    def id(self) -> str: ...

    @property
    def commit(self) -> str | None:
        """Of a snapshot of the hub's."""

    def names(self, under: str = "") -> list[str]:
        """The entries of the folder, or of the folder ``under`` in it; empty where there is none of that name."""

    def has(self, name: str) -> bool: ...

    def size(self, name: str) -> int:
        """In bytes."""

    def start(self, name: str, count: int) -> bytes:
        """Its first ``count`` bytes, or all where it has fewer."""

    def read(self, name: str, limit: int) -> bytes:
        """All of it; refused where it has more than ``limit`` bytes."""

    def layout(self, name: str) -> Layout:
        """As ``headers.layout_of``, of a safetensors file."""
