"""A study as it goes on: a live bar on a terminal, lines in a log, JSON for programs."""

# ruff: noqa: PLC0415 - rich is for a terminal

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self, TextIO

from cli.event_views import QUIET_SECONDS
from cli.exits import Exit
from cli.texts import plain, say

if TYPE_CHECKING:
    from api_schemas.studies.shown import Study, StudyCell, StudyRow
    from layercut.client import Client

#: How many of those that run are named.
MOST_NAMED = 3


def follow_study(client: Client, id: str, *, timeout: float | None = None, as_json: bool = False) -> Study:
    """Show how it goes on until it is at rest. ``exit_of`` says how it ended."""
    with view_for(sys.stdout, as_json=as_json) as view:
        return client.wait_study(id, timeout, on_change=view)


def exit_of(study: Study) -> Exit:
    """Also says on stderr what is to be done about it."""
    from api_schemas.studies.shown import CellState, StudyStatus

    failed = study.progress.by_state.get(CellState.FAILED, 0)
    if study.status is StudyStatus.PAUSED:
        say(f"the budget is used up: go on with layercut study resume {study.id} and a larger one")
    elif failed:
        say(f"{failed} of {study.progress.cells} cells failed: layercut study resume {study.id} --retry-failed")
    return Exit.DONE if study.status is StudyStatus.FINISHED and not failed else Exit.FAILED


class StudyView:
    """Is told the study whenever it has moved, within a ``with``."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, study: Study) -> None:
        raise NotImplementedError


class StudyJson(StudyView):
    """A line each: the study without its table."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, study: Study) -> None:
        from api_schemas.studies.shown import StudyHead

        head = StudyHead.model_validate(study.model_dump(include=set(StudyHead.model_fields)))
        self._stream.write(head.model_dump_json() + "\n")
        self._stream.flush()


class StudyLines(StudyView):
    """A line for each cell that ends; of the whole, one now and then."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._told = -QUIET_SECONDS
        self._ended = Ended()

    def __call__(self, study: Study) -> None:
        lines = list(self._ended.of(study))
        at_rest = study.finished_at is not None or study.status.value != "running"
        if at_rest or self._clock() - self._told >= QUIET_SECONDS:
            self._told = self._clock()
            lines.append(f"{study.status.value:<12} {totals(study)}")
        self._stream.writelines(f"{line}\n" for line in lines)
        self._stream.flush()


class StudyBar(StudyView):
    """A live bar with the totals, what runs now beneath it, and above it a line for each cell that has ended."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.text import Text

        from cli.bars import LiveBar

        self._console = Console(file=stream, highlight=False, soft_wrap=True)
        self._bar = LiveBar(self._console)
        self._now = Text(style="dim", no_wrap=True, overflow="ellipsis")
        self._live = Live(
            Group(self._bar.progress, self._now), console=self._console, transient=True, refresh_per_second=8
        )
        self._ended = Ended()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, study: Study) -> None:
        done = study.progress
        self._bar.at(done.fraction, cells_text(study), done.eta_seconds)
        self._now.plain = now_text(study)
        for line in self._ended.of(study):
            self._console.print(line, markup=False)


class Ended:
    """Which cells have ended since it was asked before; at first, those that had ended by then are counted alone."""

    def __init__(self) -> None:
        self._seen: set[int] | None = None

    def of(self, study: Study) -> Iterator[str]:
        ended = {cell.number: (row, cell) for row in study.table for cell in row.cells if not cell.state.open}
        before, self._seen = self._seen, set(ended)
        if before is None:
            if ended:
                yield f"{'before':<12} {len(ended)} of {study.progress.cells} cells had ended, {_known(study)}"
            return
        for number in sorted(set(ended) - before):
            row, cell = ended[number]
            yield f"{cell.state.value:<12} {cell_name(study, row, cell)}  {_found(cell)}".rstrip()


def totals(study: Study) -> str:
    """``61 %  20 of 60 cells  2 running  38 queued  about 4 min left``."""
    from api_schemas.progress_texts import AND, left, percent

    done = study.progress
    ahead = done.eta_seconds if study.status.value == "running" else None
    return AND.join(filter(None, [percent(done.fraction), cells_text(study), left(ahead)]))


def cells_text(study: Study) -> str:
    from api_schemas.progress_texts import AND, cells_of

    done = study.progress
    ended = sum(count for state, count in done.by_state.items() if not state.open)
    return AND.join(filter(None, [f"{ended} of {done.cells} cells", cells_of(done.by_state, done.known)]))


def now_text(study: Study) -> str:
    """What runs now, and how far it is."""
    from api_schemas.progress_texts import percent
    from api_schemas.studies.shown import CellState

    running = [(row, cell) for row in study.table for cell in row.cells if cell.state is CellState.RUNNING]
    named = [f"{cell_name(study, row, cell)} {percent(cell.fraction)}" for row, cell in running[:MOST_NAMED]]
    more = [f"and {len(running) - MOST_NAMED} more"] if len(running) > MOST_NAMED else []
    return f"now: {', '.join(named + more)}" if named else ""


def cell_name(study: Study, row: StudyRow, cell: StudyCell) -> str:
    """``rte top 2 seed 42``: the task, what goes, and whatever else the study has several of."""
    from cli.remote.study_tables import drop_of

    several = [name for name in ("model", "recovery", "effort") if len({getattr(one, name) for one in study.table}) > 1]
    parts: list[Any] = [row.task, row.strategy, drop_of(row), *(getattr(row, name) for name in several)]
    seed = [f"seed {cell.seed}"] if len(row.cells) > 1 else []
    return plain(" ".join([*parts, *seed]))


def _found(cell: StudyCell) -> str:
    if cell.score_before is None or cell.score_after is None:
        return plain(cell.reason or "")
    kept = "" if cell.retention is None else f"  {100 * cell.retention:.1f} %"
    return f"{cell.score_before:.2f} -> {cell.score_after:.2f}{kept}  {cell.outcome or ''}".rstrip()


def _known(study: Study) -> str:
    known = study.progress.known
    return f"{known} of them known from earlier jobs" if known else "none of them known before"


def view_for(stream: TextIO, *, as_json: bool) -> StudyView:
    if as_json:
        return StudyJson(stream)
    return StudyBar(stream) if stream.isatty() else StudyLines(stream)
