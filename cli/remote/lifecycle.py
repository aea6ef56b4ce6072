"""`layercut cancel | retry | delete`: what is changed of a job."""

from __future__ import annotations

import typer

from cli.remote.calling import calling
from cli.remote.options import AsJson, JobId, JobIds, Url
from cli.remote.showing import document


def cancel(jobs: JobIds, *, url: Url = None, as_json: AsJson = False) -> None:
    """Cancel jobs: at once in the queue; one that runs, as soon as its worker has stopped."""
    with calling(url, as_json=as_json) as client:
        for id in jobs:
            job = client.cancel(id)
            document(job) if as_json else typer.echo(f"{job.id} {job.status.value}")


def retry(job: JobId, *, url: Url = None, as_json: AsJson = False) -> None:
    """Queue a job again that failed or was cancelled. It goes on from its last checkpoint."""
    with calling(url, as_json=as_json) as client:
        again = client.retry(job)
        document(again) if as_json else typer.echo(f"{again.id} {again.status.value}")


def delete(jobs: JobIds, *, url: Url = None, as_json: AsJson = False) -> None:
    """Delete jobs that have ended, with their files."""
    with calling(url, as_json=as_json) as client:
        for id in jobs:
            client.delete(id)
            if not as_json:
                typer.echo(f"{id} deleted")
