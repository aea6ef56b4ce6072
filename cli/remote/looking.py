"""`layercut watch | list | show | logs`: jobs as they are, and as they go on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli.event_views import for_stream
from cli.exits import Exit
from cli.remote.calling import calling
from cli.remote.options import AsJson, JobId, Metadata, Url, pairs
from cli.remote.showing import document, documents, draw, job_lines, jobs_table, pairs_table
from cli.texts import plain_lines

if TYPE_CHECKING:
    from layercut.client import Client

STATUSES = ("queued", "running", "cancelling", "succeeded", "failed", "cancelled")


def watch(
    job: JobId,
    *,
    after: Annotated[int, typer.Option(min=0, help="go on after this event")] = 0,
    timeout: Annotated[float | None, typer.Option(min=0, help="seconds; then exit code 6, and the job goes on")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show what a job does until it has ended. Ctrl-C leaves it going."""
    with calling(url, as_json=as_json) as client:
        follow(client, job, after=after, timeout=timeout, as_json=as_json)


def follow(client: Client, job_id: str, *, after: int = 0, timeout: float | None = None, as_json: bool = False) -> None:
    """Show its events; exit where the job did not succeed."""
    with for_stream(sys.stdout, as_json=as_json) as view:
        for event in client.events(job_id, after, timeout=timeout):
            view(event)
    if client.get(job_id).status != "succeeded":
        raise typer.Exit(Exit.FAILED)


def list_jobs(
    *,
    status: Annotated[
        list[str] | None,
        typer.Option(help="may be given again: any of them", autocompletion=lambda: list(STATUSES)),
    ] = None,
    task: Annotated[str | None, typer.Option(help="of this task alone")] = None,
    model: Annotated[str | None, typer.Option(help="of this model alone")] = None,
    metadata: Metadata = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="of the newest; 0: all")] = 20,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Your jobs, newest first."""
    with calling(url, as_json=as_json) as client:
        found = client.list(
            status=status or None,
            task=task,
            model=model,
            metadata=pairs(metadata, "--metadata"),
            limit=limit or None,
        )
        documents(found) if as_json else draw(jobs_table(found))


def show(
    job: JobId,
    *,
    report: Annotated[bool, typer.Option("--report", help="all that was measured: the model card")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """One job: what it does, did, and found."""
    with calling(url, as_json=as_json) as client:
        if report and as_json:
            document(client.report(job))
        elif report:
            typer.echo(plain_lines(client.card(job)))
        elif as_json:
            document(client.get(job))
        else:
            draw(pairs_table(job_lines(client.get(job))))


def logs(
    job: JobId,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on until the job has ended")] = False,
    offset: Annotated[int, typer.Option(min=0, help="in bytes")] = 0,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """What a job's runners said."""
    with calling(url, as_json=as_json) as client:
        for piece in client.logs(job, offset, follow=follow):
            if as_json:
                document(piece)
            else:
                typer.echo(plain_lines(piece.text), nl=False)
