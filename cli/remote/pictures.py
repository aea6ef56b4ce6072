"""`layercut figure | study figure`: pictures of a job or a study, as files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cli.remote.calling import calling
from cli.remote.options import JobId, PictureFile, PictureName, Theme, Url

FORMATS = (".svg", ".png")
STDOUT = Path("-")
StudyId = Annotated[str, typer.Argument(metavar="STUDY", help="its id, study_…")]


def figure(job: JobId, name: PictureName, *, output: PictureFile = None, theme: Theme = None, url: Url = None) -> None:
    """Fetch a picture of a job that succeeded."""
    with calling(url) as client:
        _write(name, output, lambda format: client.job_figure(job, name, format=format, theme=theme))


def study_figure(
    id: StudyId,
    name: PictureName,
    *,
    output: PictureFile = None,
    theme: Theme = None,
    model: Annotated[str | None, typer.Option(help="of several: which")] = None,
    task: Annotated[str | None, typer.Option(help="of several: which")] = None,
    url: Url = None,
) -> None:
    """Fetch a picture of a study."""
    with calling(url) as client:
        _write(
            name,
            output,
            lambda format: client.study_figure(id, name, format=format, theme=theme, model=model, task=task),
        )


def _write(name: str, output: Path | None, fetch: Callable[[str], bytes]) -> None:
    """What is written is whole: a file that is there stays until the picture has come."""
    file = output or Path(f"{Path(name).name}.svg")
    format = ".svg" if file == STDOUT else file.suffix.lower()
    if format not in FORMATS:
        raise typer.BadParameter(f"{file} is neither .svg nor .png", param_hint="--output")
    picture = fetch(format.removeprefix("."))
    if file == STDOUT:
        sys.stdout.buffer.write(picture)
        return
    file.expanduser().write_bytes(picture)
    typer.echo(str(file))
