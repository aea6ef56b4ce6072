"""Checkpoints of one run's trainings: written every so often and on SIGTERM, believed only where nothing has changed.

Tensors are kept as safetensors and the rest as JSON. A pickle could run code when it is read, so there is none.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from api_schemas.events import Level, LogData
from workers.checkpoints.layout import FACTS, WEIGHTS, checkpoint_name, forget, newest_in, prepare, put_in_place

#: What a shell makes of SIGTERM. A supervisor that sees it has asked for it.
STOPPED = 128 + signal.SIGTERM

#: A message, its level, and what a program may want to know of it.
Tell = Callable[[str, Level, LogData], None]


class Stopped(SystemExit):
    """SIGTERM came, and the checkpoint is written: the process leaves without an ending to its progress."""

    def __init__(self) -> None:
        super().__init__(STOPPED)


@dataclass(frozen=True)
class Checkpoint:
    """``step`` optimizer steps are done; the last of them where ``finished``. ``facts`` is JSON."""

    step: int
    attempt: int
    finished: bool
    facts: dict[str, Any]
    tensors: dict[str, Tensor]


class Checkpoints:
    """All checkpoints of a run lie in ``folder``.

    ``provenance`` says what the run is made from, and is asked only when something is written or found: hashing weights
    takes time. A checkpoint made from anything else is not used. ``tell`` gets what happens.
    """

    def __init__(
        self, folder: Path, *, attempt: int, every_seconds: float, provenance: Callable[[], dict[str, Any]], tell: Tell
    ) -> None:
        self.folder, self.attempt, self.tell = folder, attempt, tell
        self.every_seconds = every_seconds
        self._provenance = provenance
        self.stopping = False

    @cached_property
    def provenance(self) -> dict[str, Any]:
        return self._provenance()

    def slot(self, training: str, **facts: Any) -> Slot:
        """Where the training of that name is kept; ``facts`` are what it is made from beside the run's provenance."""
        return Slot(self, training, facts)

    @contextmanager
    def heeding_sigterm(self) -> Iterator[None]:
        """Inside, SIGTERM asks for a checkpoint; raises ``Stopped`` at the end where it came too late for one."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python hears signals in its main thread only
            return
        before = signal.signal(signal.SIGTERM, self._ask_to_stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
        if self.stopping:
            raise Stopped

    def _ask_to_stop(self, *_: object) -> None:
        self.stopping = True


class Slot:
    """The place of one training's latest checkpoint."""

    def __init__(self, checkpoints: Checkpoints, training: str, facts: dict[str, Any]) -> None:
        self._all, self._training, self._facts = checkpoints, training, facts
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        return self._all.stopping or time.monotonic() - self._last >= self._all.every_seconds

    def latest(self) -> Checkpoint | None:
        """The checkpoint to go on from; one that cannot be used is told, and passed over."""
        name = newest_in(self._all.folder).get(self._training)
        if name is None:
            return None
        try:
            found = json.loads((self._all.folder / name / FACTS).read_text(encoding="utf-8"))
            other = self._differences(found["provenance"])
            if other:
                self._warn(f"the checkpoint {name} is not used: it was made with another {', '.join(other)}")
                return None
            tensors = load_file(self._all.folder / name / WEIGHTS)
            return Checkpoint(found["step"], found["attempt"], found["finished"], found["facts"], tensors)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            self._warn(f"the checkpoint {name} is not used: it cannot be read ({error})")
            return None

    def save(self, step: int, tensors: dict[str, Tensor], facts: dict[str, Any], *, finished: bool = False) -> None:
        """Keep this state in place of the one before. A failure is told, and is no reason to stop training."""
        name = checkpoint_name(self._training, step)
        about = {
            "step": step, "attempt": self._all.attempt, "finished": finished, "provenance": self._made_from(),
            "facts": facts,
        }  # fmt: skip
        try:
            hidden = prepare(self._all.folder, self._training)
            save_file(tensors, hidden / WEIGHTS)
            (hidden / FACTS).write_text(json.dumps(about, indent=1), encoding="utf-8")
            put_in_place(hidden, name)
        except (OSError, SafetensorError) as error:
            self._warn(f"no checkpoint at step {step}: {error}")
        else:
            data = LogData(checkpoint=name, training=self._training)
            self._all.tell(f"checkpoint at step {step}", "info", data)
        self._last = time.monotonic()
        if self._all.stopping:
            raise Stopped

    def forget(self) -> None:
        forget(self._all.folder, self._training)

    def tell(self, message: str) -> None:
        self._all.tell(message, "info", LogData(training=self._training))

    def _made_from(self) -> dict[str, Any]:
        return {**self._all.provenance, "training": self._training, **self._facts}

    def _differences(self, found: dict[str, Any]) -> list[str]:
        ours = json.loads(json.dumps(self._made_from()))
        return sorted(key for key in ours.keys() | found.keys() if ours.get(key) != found.get(key))

    def _warn(self, message: str) -> None:
        self._all.tell(message, "warning", LogData(training=self._training))
