"""What is shown on a terminal: names may be anybody's, and nothing in them may speak to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer


def plain(value: object) -> str:
    """On one line, without control characters."""
    return "".join(char if char.isprintable() else "?" for char in str(value))


def plain_lines(text: str) -> str:
    """Its lines, without control characters."""
    return "".join(char if char.isprintable() or char in "\n\t" else "?" for char in text)


def cell(value: Any) -> str:
    if value is None:
        return "-"
    return plain(value.isoformat(timespec="seconds") if hasattr(value, "isoformat") else value)


def table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    """Columns that line up, for people and for ``awk`` alike."""
    lines = [head, *(tuple(cell(value) for value in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def say(sentence: object) -> None:
    """To a person; what programs read is on stdout."""
    typer.echo(f"layercut: {sentence}", err=True)
