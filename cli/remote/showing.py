"""Answers as people read them, and as programs do."""

# ruff: noqa: PLC0415 - rich is for tables and bars

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from cli.texts import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel
    from rich.table import Table

    from api_schemas.jobs import Job

    OnProgress = Callable[[str, int, int], None]


def document(model: BaseModel) -> None:
    """One JSON document."""
    typer.echo(model.model_dump_json(by_alias=True))


def documents(models: Iterable[BaseModel]) -> None:
    """JSON lines."""
    for model in models:
        document(model)


def jobs_table(jobs: Iterable[Job]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "status", "model", "task", "done", "score", "created"):
        table.add_column(name, no_wrap=name in ("id", "status", "created"), overflow="fold")
    for job in jobs:
        table.add_row(*map(_escaped, _row(job)))
    return table


def _row(job: Job) -> tuple[object, ...]:
    score = None if job.result is None else job.result.score_after
    return (
        job.id,
        job.status.value,
        job.model,
        job.task,
        f"{100 * job.progress.fraction:.0f} %",
        "" if score is None else f"{score:.2f}",
        job.created_at.isoformat(sep=" ", timespec="minutes"),
    )


def job_lines(job: Job) -> Iterator[tuple[str, object]]:
    """What there is to know of one job, in pairs; what there is not is left out."""
    yield "id", job.id
    yield "status", f"{job.status.value}{f' ({job.status_reason})' if job.status_reason else ''}"
    yield "model", job.model
    yield "task", job.task
    if job.status.active:
        yield "stage", _stage(job)
        yield "progress", _progress(job)
        yield "worker", job.worker
    if job.resolved and job.resolved.plan and job.resolved.plan.dropped is not None:
        yield "drops", f"{job.resolved.plan.dropped} of {job.resolved.plan.layers_total} layers"
    if job.error:
        yield "error", f"{job.error.message} ({job.error.code}, while {job.error.stage})"
    if job.result:
        yield from _result(job)
    yield "attempt", job.attempt
    for name in ("created_at", "started_at", "finished_at", "expires_at"):
        yield name.removesuffix("_at"), getattr(job, name)
    if job.metadata:
        yield "metadata", ", ".join(f"{key}={value}" for key, value in job.metadata.items())


def _stage(job: Job) -> str | None:
    from api_schemas.progress_texts import stage_of

    return stage_of(job.stage.value) if job.stage else None


def _progress(job: Job) -> str:
    from api_schemas.progress_texts import left, loss_of, percent

    found = job.progress
    step = None if found.step is None else f"step {found.step} of {found.total_steps}"
    return ", ".join(filter(None, [percent(found.fraction), step, loss_of(found.loss), left(found.eta_seconds)]))


def _result(job: Job) -> Iterator[tuple[str, object]]:
    found = job.result
    assert found is not None
    yield "layers", f"{found.layers_total} -> {len(found.layers_kept)}"
    yield "parameters", f"{found.parameters_before:,} -> {found.parameters_after:,}"
    if found.score_before is not None and found.score_after is not None:
        yield found.metric or "score", f"{found.score_before:.2f} -> {found.score_after:.2f}"
    if found.speedup is not None:
        yield "speed", f"{found.speedup:.2f} x"
    yield "verdict", found.verdict


def pairs_table(lines: Iterable[tuple[str, object]]) -> Table:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines:
        if value is not None:
            said = value.isoformat(timespec="seconds") if hasattr(value, "isoformat") else value
            table.add_row(_escaped(name), _escaped(said))
    return table


def draw(*things: object) -> None:
    """On stdout; where that is no terminal, as wide as it takes."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 240
    Console(highlight=False, width=width).print(*things, sep="\n")


def _escaped(value: object) -> str:
    from rich.markup import escape

    return escape(plain(value))


@contextmanager
def transfer_bar(verb: str, *, quiet: bool = False) -> Iterator[OnProgress | None]:
    """For ``on_progress`` of a client: a bar a file on stderr, where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bars: dict[str, Any] = {}

        def tell(name: str, done: int, total: int) -> None:
            if name not in bars:
                bars[name] = progress.add_task(f"{verb} {plain(name)}", total=total)
            progress.update(bars[name], completed=done)

        yield tell
