"""The `layercut` command. Each of its commands imports its own side only, and when it is called."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from cli import access, hosting, remote, running
from cli.remote import studies

app = typer.Typer(
    name="layercut",
    help="Makes transformer models smaller by dropping whole layers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

JOBS, SERVICE = "Jobs, on a service (LAYERCUT_URL, LAYERCUT_API_KEY)", "The service itself, on this machine"

for name, command in remote.COMMANDS.items():
    app.command(name, rich_help_panel=JOBS)(command)
app.add_typer(studies.study, rich_help_panel=JOBS)
app.command(rich_help_panel="Jobs, without a service")(running.run)
app.command(rich_help_panel=SERVICE)(hosting.serve)
app.command(rich_help_panel=SERVICE)(hosting.gateway)
app.command(rich_help_panel=SERVICE)(hosting.worker)
app.add_typer(access.keys, rich_help_panel=SERVICE)
app.add_typer(access.tenants, rich_help_panel=SERVICE)
app.command("audit", rich_help_panel=SERVICE)(access.list_audit)


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(version("layercut"))
        except PackageNotFoundError:  # run from a checkout that was never installed
            typer.echo("0+unknown")
        raise typer.Exit


@app.callback()
def main(
    *,
    _: Annotated[
        bool, typer.Option("--version", help="print the version", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    pass


if __name__ == "__main__":
    app()
