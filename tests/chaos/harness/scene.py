"""What faults lay hands on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import psutil

from tests.chaos.harness.deployment import Deployment, Embedded, Production
from tests.chaos.harness.load import Load
from tests.chaos.harness.receiver import Receiver
from tests.chaos.harness.services import wait_until
from tests.chaos.harness.traffic import Windows

#: How long a victim is waited for that is there only now and then.
VICTIM_SECONDS = 3.0


class Skipped(Exception):
    """Why it could not be done now."""


class Broken(Exception):
    """A promise that only the fault itself can see broken: its name in ``invariants.NAMES``, and what was seen."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(name, what)
        self.name, self.what = name, what


@dataclass
class Scene:
    """What a fault may lay hands on, and when others did. ``rng`` is its own."""

    deployment: Deployment
    load: Load
    receiver: Receiver
    windows: Windows
    rng: random.Random = field(default_factory=random.Random)

    @property
    def embedded(self) -> Embedded:
        assert isinstance(self.deployment, Embedded)
        return self.deployment

    @property
    def production(self) -> Production:
        assert isinstance(self.deployment, Production)
        return self.deployment

    def one(self, kind: str) -> psutil.Process:
        """A living gateway, worker, runner or verifier."""
        found: list[psutil.Process] = []
        wait_until(lambda: bool(found.extend(getattr(self.deployment, f"{kind}s")) or found), VICTIM_SECONDS)
        if not found:
            raise Skipped(f"no {kind} is there")
        return self.rng.choice(found)


Act = Callable[[Scene], AbstractContextManager[None]]


@contextmanager
def skipped_where(*errors: type[Exception]) -> Iterator[None]:
    """One of the ``errors`` says that it cannot be done now: the process is gone, or the disk is full."""
    try:
        yield
    except errors as error:
        raise Skipped(f"{type(error).__name__}: {error}") from error
