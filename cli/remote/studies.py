"""`layercut study …`: a grid of jobs asked for at once, its table, and which of them to take."""

# ruff: noqa: PLC0415 - help and completion wait for no client

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.exits import Exit
from cli.remote.calling import calling
from cli.remote.files import fetch, send_along
from cli.remote.options import AsJson, JobFile, Metadata, Url, pairs
from cli.remote.pictures import StudyId, study_figure
from cli.remote.showing import document, documents, draw, pairs_table
from cli.remote.study_requests import (
    Drops,
    Efforts,
    Models,
    Recoveries,
    Rows,
    Seeds,
    Strategies,
    Tasks,
    lists_of,
    rename_study_files,
    study_request,
)
from cli.remote.study_tables import picks_table, rows_table, studies_table, study_lines
from cli.remote.study_views import exit_of, follow_study
from cli.remote.submitting import Settings, Upload
from cli.texts import plain_lines, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api_schemas.studies.shown import Study, StudyPreview

study = typer.Typer(
    help="Many jobs asked for at once as lists, and the table that they make.", no_args_is_help=True, name="study"
)

BudgetJobs = Annotated[int | None, typer.Option(min=1, help="begin no more than so many; a known cell costs none")]
BudgetMinutes = Annotated[float | None, typer.Option(min=0, help="begin nothing more after so many")]
BudgetGpuHours = Annotated[float | None, typer.Option(min=0, help="of all its jobs together")]


@study.command()
def submit(
    file: JobFile = None,
    *,
    name: Annotated[str | None, typer.Option(help="for people")] = None,
    model: Models = None,
    task: Tasks = None,
    strategy: Strategies = None,
    drop: Drops = None,
    recovery: Recoveries = None,
    effort: Efforts = None,
    seed: Seeds = None,
    rows: Rows = None,
    skip_impossible: Annotated[
        bool, typer.Option("--skip-impossible", help="leave out cells that cannot be, with the reason in the table")
    ] = False,
    stop_early: Annotated[
        bool, typer.Option("--stop-early", help="let strategies compete first, and run no cell that is out")
    ] = False,
    budget_jobs: BudgetJobs = None,
    budget_minutes: BudgetMinutes = None,
    budget_gpu_hours: BudgetGpuHours = None,
    set_: Settings = None,
    metadata: Metadata = None,
    upload: Upload = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="show how it goes on, then its table")] = False,
    validate: Annotated[
        bool, typer.Option("--validate", help="how many cells, and what they would take; no job")
    ] = False,
    idempotency_key: Annotated[str | None, typer.Option(help="two calls with one key are one study")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a study. Prints its id; with --watch, how it goes on, and its table."""
    request = study_request(file, {**locals(), "metadata": pairs(metadata, "--metadata")})
    with calling(url, as_json=as_json) as client:
        if upload:
            request = send_along(client, request, rename=rename_study_files, key=idempotency_key, quiet=as_json)
        if validate:
            preview = client.validate_study(request)
            document(preview) if as_json else draw(pairs_table(_preview_lines(preview)))
            return
        made = client.create_study(request, idempotency_key=idempotency_key)
        if watch:
            say(made.id)
            _watch(client, made.id, as_json=as_json)
        else:
            document(made) if as_json else typer.echo(made.id)


@study.command("list")
def list_studies(
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="of the newest; 0: all")] = 20,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Your studies, newest first."""
    with calling(url, as_json=as_json) as client:
        found = client.studies(limit or None)
        documents(found) if as_json else draw(studies_table(found))


@study.command()
def show(
    id: StudyId,
    *,
    csv: Annotated[bool, typer.Option("--csv", help="its table for a spreadsheet")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="its table for a document")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """How far a study is, and its table. ★ is the front: no other row is both faster and better."""
    if csv + markdown + as_json > 1:
        raise typer.BadParameter("one of --csv, --markdown and --json", param_hint="--csv")
    with calling(url, as_json=as_json) as client:
        if csv or markdown:
            typer.echo(plain_lines(client.study_table(id, "csv" if csv else "markdown")), nl=False)
            return
        found = client.study(id)
        document(found) if as_json else _draw(found)


@study.command()
def watch(
    id: StudyId,
    *,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="seconds; then exit code 6, and the study goes on")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show how a study goes on until it is finished, cancelled or paused; then its table. Ctrl-C leaves it going."""
    with calling(url, as_json=as_json) as client:
        _watch(client, id, timeout=timeout, as_json=as_json)


@study.command()
def pick(
    id: StudyId,
    *,
    min_retention: Annotated[float, typer.Option(min=0, help="share of the full model's score, as in 0.98")],
    sure: Annotated[bool, typer.Option("--sure", help="the lower end of the interval keeps it, too")] = False,
    download: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="put the models there, a folder each", file_okay=False),
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Of each model and task, the smallest that keeps so much. Exit code 1 where one has none."""
    with calling(url, as_json=as_json) as client:
        found = client.pick(id, min_retention, sure=sure)
        document(found) if as_json else draw(picks_table(found.data))
        for one in found.data:
            if download and one.job_id:
                fetch(client, one.job_id, download / one.job_id, as_json=as_json)
    if not all(one.job_id for one in found.data):
        raise typer.Exit(Exit.FAILED)


@study.command()
def cancel(id: StudyId, *, url: Url = None, as_json: AsJson = False) -> None:
    """Begin nothing more of a study, and cancel what runs; `resume` goes on."""
    with calling(url, as_json=as_json) as client:
        _changed(client.cancel_study(id), as_json=as_json)


@study.command()
def resume(
    id: StudyId,
    *,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="queue the jobs again that failed")] = False,
    budget_jobs: BudgetJobs = None,
    budget_minutes: BudgetMinutes = None,
    budget_gpu_hours: BudgetGpuHours = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="show how it goes on, then its table")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a study that was cancelled, is paused or had failures; with a budget, in place of its own."""
    given = {"jobs": budget_jobs, "minutes": budget_minutes, "gpu_hours": budget_gpu_hours}
    budget = {name: value for name, value in given.items() if value is not None}
    with calling(url, as_json=as_json) as client:
        found = client.resume_study(id, budget=budget or None, retry_failed=retry_failed)
        if watch:
            _watch(client, id, as_json=as_json)
        else:
            _changed(found, as_json=as_json)


@study.command()
def add(
    id: StudyId,
    file: JobFile = None,
    *,
    model: Models = None,
    task: Tasks = None,
    strategy: Strategies = None,
    drop: Drops = None,
    recovery: Recoveries = None,
    effort: Efforts = None,
    seed: Seeds = None,
    rows: Rows = None,
    set_: Settings = None,
    upload: Upload = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Add a further grid to a study: its own lists where a flag is not given. Cells that it has change nothing."""
    flags = locals()
    with calling(url, as_json=as_json) as client:
        request = study_request(file, flags, lists_of(client.study(id)) if file is None else None)
        if upload:
            request = send_along(client, request, rename=rename_study_files, quiet=as_json)
        _changed(client.add_cells(id, request), as_json=as_json)


@study.command()
def delete(
    id: StudyId,
    *,
    jobs: Annotated[bool, typer.Option("--jobs", help="its jobs and their files, too")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Delete a study that has ended; its jobs stay, but with --jobs."""
    with calling(url, as_json=as_json) as client:
        client.delete_study(id, jobs=jobs)
        if not as_json:
            typer.echo(f"{id} deleted{' with its jobs' if jobs else ''}")


study.command("figure")(study_figure)


def _watch(client: Any, id: str, *, timeout: float | None = None, as_json: bool) -> None:
    found = follow_study(client, id, timeout=timeout, as_json=as_json)
    if not as_json:
        _draw(found)
    code = exit_of(found)
    if code:
        raise typer.Exit(code)


def _draw(found: Study) -> None:
    draw(pairs_table(study_lines(found)))
    draw("")
    draw(rows_table(found.table))


def _changed(found: Study, *, as_json: bool) -> None:
    document(found) if as_json else typer.echo(f"{found.id} {found.status.value}, {found.progress.cells} cells")


def _preview_lines(preview: StudyPreview) -> Iterator[tuple[str, object]]:
    from api_schemas.durations import about

    yield "cells", preview.cells
    yield "known", f"{preview.known}: earlier jobs have done them"
    yield "baselines", f"{preview.baselines} full models to train, each once"
    yield "takes", None if preview.minutes is None else f"{about(60 * preview.minutes)}, one job after another"
    if preview.impossible_count:
        yield "impossible", preview.impossible_count
    for cell in preview.impossible:
        yield f"  {cell.number}", f"{cell.cell}: {cell.reason}"
