"""A flow on its way: which step is next, and what came of the last."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from layercut.client.errors import Broken
from layercut.client.steps import Flow, Step

T = TypeVar("T")


class Way(Generic[T]):
    """``result`` is what the flow returns, once no step is left."""

    result: T

    def __init__(self, flow: Flow[T]) -> None:
        self._flow = flow
        self._answer: Any = None
        self._broken: Broken | None = None

    def step(self) -> Step | None:
        """The next one; raises what the flow raises."""
        answer, broken = self._answer, self._broken
        self._answer = self._broken = None
        try:
            return self._flow.send(answer) if broken is None else self._flow.throw(broken)
        except StopIteration as done:
            self.result = done.value
            return None

    def came(self, answer: Any) -> None:
        self._answer = answer

    def broke(self, why: Broken) -> None:
        self._broken = why

    def leave(self) -> None:
        self._flow.close()
