"""What the client does, step by step, with no network in it: a flow yields steps, and is sent what came of each.

`Client` carries them out and waits, `AsyncClient` awaits: whatever else there is to know stands once, in the flows.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """``path`` is beneath the service's address. ``silence``: seconds without a byte after which it counts as lost."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    content: bytes | None = None
    silence: float | None = None

    def having(self, **headers: str) -> Request:
        """The same with further headers, ``_`` standing for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **named})

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Answer:
    """Header names are in small letters. Of one that streams, ``body`` is empty: ``Read`` brings it."""

    request: Request
    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def refused(self) -> bool:
        return self.status >= 400

    @property
    def leads_elsewhere(self) -> bool:
        return 300 <= self.status < 400

    def is_a(self, media_type: str) -> bool:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower() == media_type


@dataclass(frozen=True)
class Ask:
    """Brings the whole ``Answer``. Raises ``Broken`` into the flow where there is none, as all that use the network."""

    request: Request


@dataclass(frozen=True)
class Open:
    """Brings the ``Answer`` as soon as it begins; one that is refused is read whole. What was open before is closed.

    ``block``: bytes that a ``Read`` waits for; 0 waits for any.
    """

    request: Request
    block: int = 0


@dataclass(frozen=True)
class Read:
    """Brings the next bytes of what is open, none at its end."""


@dataclass(frozen=True)
class Pause:
    seconds: float


@dataclass(frozen=True)
class Work(Generic[T]):
    """Brings what ``do`` returns, which reads or writes files."""

    do: Callable[[], T]


@dataclass(frozen=True)
class Item(Generic[T]):
    """Something for whoever iterates."""

    value: T


Step = Ask | Open | Read | Pause | Work[Any] | Item[Any]
Flow = Generator[Step, Any, T]


def work(do: Callable[[], T]) -> Flow[T]:
    """``Work``, with its type."""
    done: T = yield Work(do)
    return done
