"""Live bars on a terminal, of a job and of a study alike."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from api_schemas.progress_texts import left, percent

BAR_WIDTH = 24


class LiveBar:
    """What is drawn is its ``progress``: how far it is, what it does, and how long it will take and has taken."""

    def __init__(self, console: Console) -> None:
        columns = (
            SpinnerColumn(),
            BarColumn(BAR_WIDTH),
            _text("{task.fields[far]}"),
            _text("{task.description}"),
            _LeftColumn(),
            TimeElapsedColumn(),
        )
        self.progress = Progress(*columns, console=console, transient=True)
        self._bar: TaskID = self.progress.add_task("waiting", total=1.0, far="", ends=None)

    def at(self, fraction: float, does: str, eta_seconds: float | None) -> None:
        ends = None if eta_seconds is None else self.progress.get_time() + eta_seconds
        self.progress.update(self._bar, completed=fraction, description=does, far=percent(fraction), ends=ends)

    def does(self, what: str) -> None:
        self.progress.update(self._bar, description=what)


class _LeftColumn(ProgressColumn):
    """Goes down while nothing new is told."""

    def render(self, task: Task) -> Text:
        ends = task.fields["ends"]
        return Text("" if ends is None else left(max(0.0, ends - task.get_time())))


def _text(format: str) -> TextColumn:
    return TextColumn(format, markup=False)
