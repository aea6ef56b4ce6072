"""What a tracking service is to its thread: calls that may take long, and what their errors mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from workers.tracking.entries import Begin, End, Files, Params, Point


@dataclass(frozen=True)
class Trouble:
    """Why a call failed, for people who may not know where the service is; ``passes``: it may answer later."""

    why: str
    passes: bool


class Backend(Protocol):
    """One service. Called from one thread alone. Each call may be made again after one that failed."""

    @property
    def name(self) -> str: ...

    def prepare(self) -> None:
        """Import what it takes. Raises ``ImportError`` where its client is not installed."""

    def begin(self, run: Begin) -> None: ...

    def params(self, more: Params) -> None: ...

    def points(self, points: Sequence[Point]) -> None: ...

    def files(self, files: Files) -> None: ...

    def end(self, end: End) -> None: ...

    def drop(self) -> None:
        """Nothing more is told of the run that was begun last."""

    def trouble(self, error: Exception) -> Trouble:
        """What an error of any of the calls means."""
