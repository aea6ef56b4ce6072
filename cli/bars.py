"""Live bars on a terminal, of a job and of a study alike."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

BAR_WIDTH = 24


def job_bar(console: Console) -> Progress:
    """Its tasks have ``percent`` and ``left``: texts, empty where they cannot be told yet."""
    return Progress(
        SpinnerColumn(),
        BarColumn(BAR_WIDTH),
        _text("{task.fields[percent]}"),
        _text("{task.description}"),
        _text("{task.fields[left]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


def _text(format: str) -> TextColumn:
    return TextColumn(format, markup=False)
