"""`layercut download | upload`: models and data, from a service and to it."""

# ruff: noqa: PLC0415 - help and completion wait for no client

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.remote.calling import calling
from cli.remote.options import AsJson, JobId, Url
from cli.remote.showing import document, transfer_bar
from cli.texts import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from api_schemas.named_files import What
    from api_schemas.uploads import Dataset, Model
    from layercut.client import Client

    Rename = Callable[[Any, Callable[[What, str, str], str]], Any]

Kind = Literal["auto", "dataset", "model"]

#: Of a folder of data.
TABLES = frozenset({".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt", ".conll"})


def download(
    job: JobId,
    folder: Annotated[Path | None, typer.Argument(help="by default the job's id; empty where it is there")] = None,
    *,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a job's model into a folder, and check it. Called again, it goes on where it was left."""
    with calling(url, as_json=as_json) as client:
        fetch(client, job, folder or Path(Path(job).name), as_json=as_json)


def fetch(client: Client, job_id: str, folder: Path, *, as_json: bool) -> None:
    with transfer_bar("fetching", quiet=as_json) as tell:
        there = client.download(job_id, folder, on_progress=tell)
    typer.echo(json.dumps({"job_id": job_id, "folder": str(there)}) if as_json else str(there))


def upload(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="a model's folder, or files of data")],
    *,
    kind: Annotated[Kind, typer.Option(help="auto: a folder with a config.json is a model")] = "auto",
    name: Annotated[str | None, typer.Option(help="for people")] = None,
    resume: Annotated[str | None, typer.Option(metavar="ID", help="an upload of the same that was not ended")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Send data or a model. Prints its source, which a request names it by: upload:ID."""
    is_model = kind == "model" or (kind == "auto" and is_model_folder(paths[0]))
    if is_model and len(paths) > 1:
        raise typer.BadParameter("a model is one folder", param_hint="PATH…")
    with calling(url, as_json=as_json) as client:
        sent = _send(client, paths, is_model=is_model, name=name, resume=resume, quiet=as_json)
        document(sent) if as_json else typer.echo(sent.source)


def send_along(
    client: Client, request: dict[str, Any], *, rename: Rename | None = None, key: str | None = None, quiet: bool
) -> dict[str, Any]:
    """``request`` with what lies here named by what it was sent as. One path that is named twice is sent once; with a
    ``key``, also by a second call. ``rename`` knows where files are named; by default in a job.
    """
    from api_schemas.named_files import rename_files

    sent: dict[tuple[str, Path], str] = {}

    def send(what: What, given: str, _: str) -> str:
        path = Path(given).expanduser()
        if not path.exists():
            return given
        file = what, path.resolve()
        if file not in sent:
            is_model = what == "model"
            sent[file] = _send(client, [path], is_model=is_model, name=path.name, key=key, quiet=quiet).source
            say(f"{given} is {sent[file]}")
        return sent[file]

    renamed: dict[str, Any] = (rename or rename_files)(request, send)
    return renamed


def is_model_folder(path: Path) -> bool:
    return (path / "config.json").is_file()


def _send(
    client: Client,
    paths: list[Path],
    *,
    is_model: bool,
    name: str | None,
    resume: str | None = None,
    key: str | None = None,
    quiet: bool,
) -> Dataset | Model:
    more: dict[str, Any] = {"name": name, "resume": resume, "idempotency_key": key}
    with transfer_bar("sending", quiet=quiet) as tell:
        if is_model:
            return client.upload_model(paths[0], on_progress=tell, **more)
        files = [file for path in paths for file in _tables(path)]
        return client.upload_dataset(*files, on_progress=tell, **more)


def _tables(path: Path) -> list[Path]:
    """A file, or the files of a folder: train and dev."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix.lower() in TABLES)
