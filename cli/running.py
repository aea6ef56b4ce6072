"""`layercut run`: one job on files of one's own, with no service."""

# ruff: noqa: PLC0415 - torch is for those who run a job

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.extras import need
from cli.texts import say


def run(
    job: Annotated[Path, typer.Argument(help="a job file, or the body of POST /v1/jobs", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="the model's folder; made, and empty where it is there", file_okay=False)],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="events as JSON lines, also on a terminal")] = False,
) -> None:
    """Do one job here, without the service: exit code 0 where it succeeds, else 1.

    Paths in the job file are from where it lies, or from where you are. Nothing but the model is left in --out. Where
    there is no terminal, events go to stdout as JSON lines. Started again with the same file and --out, it goes on
    from its last checkpoint.
    """
    need("worker")
    out = out.expanduser()  # what a shell leaves of `--out=~/small`: asked now, and not when the training is done
    if out.is_dir() and any(out.iterdir()):
        raise typer.BadParameter(f"{out} is not empty", param_hint="--out")
    from cli.event_views import for_stream
    from workers.foreground import run_in_foreground

    lines = as_json or not sys.stdout.isatty()
    code = run_in_foreground(job, out, lambda stream: for_stream(stream, as_json=lines))
    if code == 0:
        say(f"the model is in {out}, and its card is {out / 'README.md'}")
    raise typer.Exit(code)
