"""Options and arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Url = Annotated[str | None, typer.Option("--url", help="of the service; by default LAYERCUT_URL, or this machine's")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, and nothing else")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="its id, job_…")]
JobIds = Annotated[list[str], typer.Argument(metavar="JOB…", help="their ids, job_…")]
Metadata = Annotated[list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="may be given again")]
JobFile = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="the request as JSON or YAML, - for stdin; flags go over it", dir_okay=False),
]

Theme = Annotated[Literal["auto", "light", "dark"] | None, typer.Option(help="auto: as the system of who looks at it")]
PictureFile = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help=".svg or .png; by default NAME.svg here; - for stdout"),
]
PictureName = Annotated[str, typer.Argument(metavar="NAME", help="which: a wrong one is told what there is")]


def pairs(given: list[str] | None, what: str) -> dict[str, str]:
    """Of ``KEY=VALUE``."""
    found: dict[str, str] = {}
    for text in given or ():
        key, mark, value = text.partition("=")
        if not (mark and key):
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint=what)
        found[key] = value
    return found
