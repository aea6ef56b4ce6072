"""`layercut submit | plan`: from a file and flags to a job, or to what it would do."""

# ruff: noqa: PLC0415 - help and completion wait for no client

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.remote.calling import calling
from cli.remote.files import fetch, send_along
from cli.remote.looking import follow
from cli.remote.options import AsJson, JobFile, Metadata, Url, pairs
from cli.remote.requests import put, put_all, put_drop, put_metadata, read_request
from cli.remote.showing import document, draw, pairs_table
from cli.texts import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api_schemas.estimates import Estimate
    from api_schemas.previews import PlanAnswer

Model = Annotated[str | None, typer.Option(help="hub id, path on the service's machine, job:ID, upload:ID")]
Task = Annotated[str | None, typer.Option(help="a GLUE task, or none")]
Dataset = Annotated[str | None, typer.Option(help="data of your own: its path, or upload:ID")]
TextColumns = Annotated[list[str] | None, typer.Option("--text-column", help="of the dataset; may be given again")]
LabelColumn = Annotated[str | None, typer.Option(help="of the dataset")]
Drop = Annotated[str | None, typer.Option(help="layers that go: 4, or a share of them: 33%")]
Strategy = Annotated[str | None, typer.Option(help="which layers go: top, auto, contribution, …")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="any field, as in recovery.epochs=2")
]
Upload = Annotated[bool, typer.Option("--upload", help="send models and data that lie here along")]


def submit(
    file: JobFile = None,
    *,
    model: Model = None,
    task: Task = None,
    dataset: Dataset = None,
    text_column: TextColumns = None,
    label_column: LabelColumn = None,
    drop: Drop = None,
    strategy: Strategy = None,
    set_: Settings = None,
    metadata: Metadata = None,
    upload: Upload = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="show its events until it has ended")] = False,
    download: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="wait for its end, and put the model there", file_okay=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check it, and show what it would take")] = False,
    idempotency_key: Annotated[str | None, typer.Option(help="two calls with one key are one job")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a job. Prints its id; with --watch, what it does."""
    request = _request(file, locals())
    put_metadata(request, pairs(metadata, "--metadata"))
    with calling(url, as_json=as_json) as client:
        if upload:
            request = send_along(client, request, key=idempotency_key, quiet=as_json)
        if dry_run:
            preview = client.validate(request)
            document(preview) if as_json else draw(pairs_table(_takes(preview.estimate, preview.no_estimate)))
            return
        job = client.submit(request, idempotency_key=idempotency_key)
        if as_json:
            document(job)
        elif watch or download:
            say(job.id)
        else:
            typer.echo(job.id)
        if watch or download:
            follow(client, job.id, as_json=as_json)
        if download:
            fetch(client, job.id, download, as_json=as_json)


def plan(
    file: JobFile = None,
    *,
    model: Model = None,
    task: Task = None,
    dataset: Dataset = None,
    text_column: TextColumns = None,
    label_column: LabelColumn = None,
    drop: Drop = None,
    strategy: Strategy = None,
    set_: Settings = None,
    upload: Upload = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Which layers would go, and what that saves; with no job and no GPU."""
    request = _request(file, locals())
    # A job file has more than a plan asks about.
    request = {name: request[name] for name in ("model", "task", "prune", "recovery", "seed") if name in request}
    with calling(url, as_json=as_json) as client:
        if upload:
            request = send_along(client, request, quiet=as_json)
        answer = client.plan(request)
        document(answer) if as_json else draw(pairs_table(_plan_lines(answer)))


#: Flags, by the field that they are.
FIELDS = {
    "model": "model",
    "task": "task",
    "dataset": "task.dataset",
    "text_column": "task.text_columns",
    "label_column": "task.label_column",
    "strategy": "prune.strategy",
}


def _request(file: Path | None, flags: dict[str, Any]) -> dict[str, Any]:
    """The file's, with ``flags`` over it, which are a command's own."""
    request = read_request(file)
    for flag, path in FIELDS.items():
        if flags[flag]:
            put(request, path, flags[flag])
    if flags["drop"] is not None:
        put_drop(request, flags["drop"])
    put_all(request, flags["set_"])
    if not request:
        raise typer.BadParameter("give a job file, or --model and --task", param_hint="FILE")
    return request


def _plan_lines(plan: PlanAnswer) -> Iterator[tuple[str, object]]:
    yield "model", f"{plan.model.id}: {plan.model.architecture}, {plan.layers_total} layers"
    yield "strategy", plan.strategy
    yield "drops", None if plan.dropped is None else f"{plan.dropped}, of layers numbered from 0"
    if plan.parameters_after is not None:
        yield "parameters", f"{plan.parameters_before:,} -> {plan.parameters_after:,}"
    if plan.bytes_before is not None and plan.bytes_after is not None:
        yield "weights", f"{plan.bytes_before / 1e6:,.1f} MB -> {plan.bytes_after / 1e6:,.1f} MB"
    yield from ((("warning", warning)) for warning in plan.warnings)
    yield from _takes(plan.estimate, plan.no_estimate)


def _takes(estimate: Estimate | None, why_not: str | None) -> Iterator[tuple[str, object]]:
    from api_schemas.durations import about

    if estimate is None:
        yield "estimate", f"none: {why_not}" if why_not else None
        return
    yield "takes", about(60 * estimate.minutes)
    if estimate.memory_bytes is not None:
        yield "memory", f"{estimate.memory_bytes / 1e9:.1f} GB"
    yield "on", estimate.device_name or estimate.device
