"""The body of a study: a file, and flags over it; and what lies here, sent along."""

# ruff: noqa: PLC0415 - help and completion wait for no vocabulary

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.remote.requests import amount, put, put_all, put_metadata, read_request

if TYPE_CHECKING:
    from api_schemas.named_files import What
    from api_schemas.studies.shown import Study

Texts = list[str] | None
Models = Annotated[Texts, typer.Option("--model", help="may be given again; as of `submit`")]
Tasks = Annotated[Texts, typer.Option("--task", "--tasks", help="GLUE tasks: rte,mrpc")]
Strategies = Annotated[Texts, typer.Option("--strategy", "--strategies", help="which layers go: top,bottom,symmetric")]
Drops = Annotated[Texts, typer.Option("--drop", "--drops", help="how many go, or which share: 2,3 or 33%")]
Recoveries = Annotated[Texts, typer.Option("--recovery", "--recoveries", help="what mends: none,finetune,distill")]
Efforts = Annotated[Texts, typer.Option("--effort", "--efforts", help="what that may cost: quick,standard,thorough")]
Seeds = Annotated[Texts, typer.Option("--seed", "--seeds", help="1,2,3: the table has the mean over them")]
Rows = Annotated[int | None, typer.Option(min=1, help="train on so many rows of each task")]

#: Lists by their flags: what is typed once may hold several, but for a model's, which may be a path.
LISTS = {
    "models": "model",
    "tasks": "task",
    "strategies": "strategy",
    "recoveries": "recovery",
    "efforts": "effort",
    "drops": "drop",
    "seeds": "seed",
}
#: What of a study names files, and where a job has it.
_NAMED = {"models": "model", "tasks": "task", "recoveries": "recovery"}
#: Flags with a value, and those without one, by the field that they are.
_FIELDS = {
    "name": "name",
    "budget_jobs": "budget.jobs",
    "budget_minutes": "budget.minutes",
    "budget_gpu_hours": "budget.gpu_hours",
}
_SWITCHES: dict[str, tuple[str, Any]] = {"skip_impossible": ("impossible", "skip"), "stop_early": ("stop_early", True)}


def study_request(file: Path | None, flags: dict[str, Any], base: dict[str, Any] | None = None) -> dict[str, Any]:
    """The file's, with ``flags`` over it, which are a command's own; over ``base``. Raises ``BadParameter``."""
    request = {**(base or {}), **read_request(file), **grid_of(flags)}
    if flags["rows"] is not None:
        request["tasks"] = [_with_rows(task, flags["rows"]) for task in _as_list(request.get("tasks"))]
    for flag, path in _FIELDS.items():
        if flags.get(flag) is not None:
            put(request, path, flags[flag])
    for flag, (path, value) in _SWITCHES.items():
        if flags.get(flag):
            put(request, path, value)
    if flags.get("metadata"):
        request["job"] = dict(request.get("job") or {})
        put_metadata(request["job"], flags["metadata"])
    put_all(request, flags.get("set_"))
    if request == (base or {}):
        raise typer.BadParameter("give a file, or --model, --task and --drop", param_hint="FILE")
    return request


def lists_of(study: Study) -> dict[str, Any]:
    """The lists that a study was asked for with."""
    return {name: study.request[name] for name in LISTS if name in study.request}


def grid_of(flags: dict[str, Any]) -> dict[str, list[Any]]:
    """The lists that are given."""
    read: dict[str, Callable[[str], Any]] = {"drops": _drop, "seeds": _seed}
    found = {}
    for name, flag in LISTS.items():
        given = flags[flag] or []
        texts = given if name == "models" else [part for text in given for part in text.split(",")]
        if texts:
            found[name] = [read.get(name, str)(text.strip()) for text in texts if text.strip()]
    return found


def rename_study_files(request: Any, rename: Callable[[What, str, str], str]) -> Any:
    """As ``rename_files``, of a study."""
    from api_schemas.named_files import rename_files

    renamed = dict(request)
    for name, part in _NAMED.items():
        if name in renamed:
            renamed[name] = [rename_files({part: one}, rename)[part] for one in _as_list(renamed[name])]
    job = renamed.get("job")
    if isinstance(job, dict) and "calibration" in job:
        prune = rename_files({"prune": {"calibration": job["calibration"]}}, rename)["prune"]
        renamed["job"] = {**job, **prune}
    return renamed


def _with_rows(task: Any, rows: int) -> Any:
    """A task that is a name becomes an object; what is neither is the service's to refuse."""
    whole = {"name": task} if isinstance(task, str) else task
    return {**whole, "max_train_rows": rows} if isinstance(whole, dict) else task


def _as_list(given: Any) -> list[Any]:
    """One may stand for a list of one."""
    return given if isinstance(given, list) else [] if given is None else [given]


def _drop(text: str) -> float:
    return amount(text)[1]


def _seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no whole number", param_hint="--seed") from None
