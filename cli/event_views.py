"""The events of a job as they are shown: a bar on a terminal, lines in a log, JSON for programs."""

# ruff: noqa: PLC0415 - rich is for a terminal, and help waits for no vocabulary

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, TextIO

from cli.texts import plain

if TYPE_CHECKING:
    from api_schemas.events import Event, NewEvent

#: Seconds between two lines of progress in a log.
QUIET_SECONDS = 10.0

PROGRESS, METRIC, STAGE = "job.progress", "job.metric", "job.stage"
#: What moves the bar, or is said by what comes after it.
SILENT = frozenset({PROGRESS, "job.resolved"})


class View:
    """Is told each event, within a ``with``."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, event: NewEvent | Event) -> None:
        raise NotImplementedError


class JsonLines(View):
    """As they are on the wire."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: NewEvent | Event) -> None:
        self._stream.write(event.model_dump_json(exclude_unset=True) + "\n")
        self._stream.flush()


class Lines(View):
    """A line for each; of progress, one now and then."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._told = -QUIET_SECONDS

    def __call__(self, event: NewEvent | Event) -> None:
        if event.type == PROGRESS:
            if self._clock() - self._told < QUIET_SECONDS:
                return
            self._told = self._clock()
        self._stream.write(f"{event.type.value:<18} {said(event)}\n")
        self._stream.flush()


class Bar(View):
    """A live bar with the newest progress, under the lines of what has happened."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        from cli.bars import LiveBar

        self._console = Console(file=stream, highlight=False, soft_wrap=True)
        self._bar = LiveBar(self._console)
        self._stage: str | None = None

    def __enter__(self) -> Self:
        self._bar.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.progress.stop()

    def __call__(self, event: NewEvent | Event) -> None:
        from api_schemas.progress_texts import doing

        data: Any = event.data
        if event.type == PROGRESS:
            does = doing(self._stage, data.step, data.total_steps, data.loss)
            self._bar.at(data.fraction, does, data.eta_seconds)
            return
        if event.type == STAGE and not data.skipped:
            self._stage = data.stage.value
            self._bar.does(doing(self._stage))
        if event.type.value not in SILENT:
            self._console.print(f"{event.type.value.removeprefix('job.'):<14}", said(event), markup=False)


def said(event: Any) -> str:
    """In one line; of a score, with the side that it is of, and of a training with its loss."""
    from api_schemas.progress_texts import AND, loss_of

    side = f" {event.data.side}" if event.type == METRIC else ""
    loss = loss_of(event.data.loss) if event.type == PROGRESS else ""
    return plain(event.message) + side + (f"{AND}{loss}" if loss else "")


def for_stream(stream: TextIO, *, as_json: bool) -> View:
    if as_json:
        return JsonLines(stream)
    return Bar(stream) if stream.isatty() else Lines(stream)
