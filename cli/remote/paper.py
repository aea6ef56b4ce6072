"""`layercut paper`: the grid of the paper as a study, and its tables beside ours."""

# ruff: noqa: PLC0415 - help and completion wait for no client

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.exits import Exit
from cli.remote.calling import calling
from cli.remote.files import send_along
from cli.remote.options import AsJson, Url
from cli.remote.paper_tables import AGAIN, HALF, print_tables, tables_of
from cli.remote.study_requests import Drops, Models, Rows, Seeds, Strategies, Tasks, grid_of, rename_study_files
from cli.remote.study_views import exit_of, view_for
from cli.remote.submitting import Upload
from cli.texts import say

if TYPE_CHECKING:
    from api_schemas.studies.shown import Study
    from layercut.client import Client

Recoveries = Annotated[
    list[str] | None, typer.Option("--recovery", help="finetune, as the paper; distill; or both: finetune,distill")
]
Studies = Annotated[
    list[str] | None,
    typer.Option("--study", metavar="ID", help="print the tables of one that exists; may be given again"),
]

#: How GLUE gets to a service, said where it is not there.
NO_GLUE = (
    "the service has no GLUE: start it with LAYERCUT_GLUE_DIR=<the folder that has RTE, MRPC, …>, as in"
    " LAYERCUT_GLUE_DIR=~/glue layercut serve; or give it a way to the hub"
)


def paper(
    *,
    model: Models = None,
    task: Tasks = None,
    drop: Drops = None,
    strategy: Strategies = None,
    seed: Seeds = None,
    recovery: Recoveries = None,
    rows: Rows = None,
    table5: Annotated[
        bool, typer.Option("--table5", help="also drop half of the layers from the fine-tuned model: a second study")
    ] = False,
    study: Studies = None,
    upload: Upload = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="the tables for a document")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Run the grid of the paper as a study, and print its tables 1 to 5 beside ours.

    Without options it is all of it: four models, seven tasks, days on a GPU. Typed again, what is known costs nothing.
    Ctrl-C leaves it going: --study comes back to it. The bar is on stderr, the tables are on stdout.
    """
    if markdown and as_json:
        raise typer.BadParameter("one of --markdown and --json", param_hint="--markdown")
    asked = {"model": model, "task": task, "drop": drop, "strategy": strategy, "seed": seed}
    asked |= {"recovery": recovery, "effort": None}
    if study and (rows or table5 or upload or any(asked.values())):
        raise typer.BadParameter("it has its own grid: give no other with it", param_hint="--study")
    with calling(url, as_json=as_json) as client:
        ids = study or [_ask(client, body, upload, as_json) for body in _bodies(asked, rows, table5)]
        found = [_followed(client, id, as_json=as_json) for id in ids]
        print_tables(tables_of(found), found, markdown=markdown, as_json=as_json)
        code = max(map(exit_of, found))
    if code:
        raise typer.Exit(code)


def _bodies(asked: dict[str, Any], rows: int | None, table5: bool) -> list[dict[str, Any]]:
    from api_schemas.studies.paper import paper_grid

    given: dict[str, Any] = {**grid_of(asked), **({} if rows is None else {"rows": rows})}
    bodies = [paper_grid(**given)]
    if table5:
        given |= {"drops": [HALF], "strategies": ["top"], "recoveries": [AGAIN]}
        bodies.append({**paper_grid(**given), "name": "The paper's table 5"})
    return bodies


def _ask(client: Client, body: dict[str, Any], upload: bool, as_json: bool) -> str:
    if upload:
        body = send_along(client, body, rename=rename_study_files, quiet=as_json)
    made = client.create_study(body)
    if not as_json:
        say(f"{made.id}: {made.progress.cells} cells, of which {made.progress.known} are known")
    return made.id


def _followed(client: Client, id: str, *, as_json: bool) -> Study:
    watched = _NeedsGlue(client)
    if as_json:
        return client.wait_study(id, on_change=watched)
    with view_for(sys.stderr, as_json=False) as view:

        def moved(study: Study) -> None:
            view(study)
            watched(study)

        return client.wait_study(id, on_change=moved)


class _NeedsGlue:
    """Looks at the first job that fails: where the service has no GLUE, all others would fail alike."""

    def __init__(self, client: Client) -> None:
        self._client, self._looked = client, False

    def __call__(self, study: Study) -> None:
        failed = [cell.job_id for row in study.table for cell in row.cells if cell.state.value == "failed"]
        if self._looked or not failed or failed[0] is None:
            return
        self._looked = True
        error = self._client.get(failed[0]).error
        if error is not None and "LAYERCUT_GLUE_DIR" in error.message:
            if study.finished_at is None:
                self._client.cancel_study(study.id)
            say(f"{NO_GLUE} ({error.code})")
            raise typer.Exit(Exit.REFUSED)
