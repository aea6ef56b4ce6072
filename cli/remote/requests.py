"""The body of a job or a plan: a file, and flags over it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import typer

YAML = (".yaml", ".yml")


def read_request(file: Path | None) -> dict[str, Any]:
    """Of a job file, or of the body alone; raises ``BadParameter`` that says where it is wrong."""
    if file is None:
        return {}
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        found = _yaml(text) if file.suffix.lower() in YAML else json.loads(text)
    except OSError as error:
        raise _wrong(f"{file}: {error.strerror}") from None
    except ValueError as error:
        raise _wrong(f"{file} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise _wrong(f"{file} has no object in it: the body of POST /v1/jobs is one")
    # A job file of `layercut run` has the request within.
    request = found["request"] if isinstance(found.get("request"), dict) else found
    return dict(request)


def _yaml(text: str) -> Any:
    try:
        import yaml  # noqa: PLC0415 - a client alone comes without it
    except ModuleNotFoundError:
        raise _wrong("YAML needs pyyaml, which is not installed: give JSON, or pip install pyyaml") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _wrong(sentence: str) -> typer.BadParameter:
    return typer.BadParameter(sentence, param_hint="FILE")


def put(request: dict[str, Any], path: str, value: Any) -> None:
    """``value`` at ``prune.strategy``, say. A part that is a text becomes what it stands for: ``{name: text}``."""
    *way, last = path.split(".")
    part = request
    for at, name in enumerate(way):
        inner = part.get(name)
        if isinstance(inner, str):
            inner = {_STANDS_FOR.get(".".join(way[: at + 1]), "name"): inner}
        elif inner is not None and not isinstance(inner, dict):
            raise typer.BadParameter(f"{'.'.join(way[: at + 1])} has no parts", param_hint="--set")
        part[name] = part = dict(inner or {})
    part[last] = value


#: What of a part is given where it is given as a text.
_STANDS_FOR = {"model": "id", "prune": "strategy", "recovery": "method", "webhook": "url"}
#: How much goes: one of these.
_AMOUNTS = ("drop", "drop_ratio", "target_params", "drop_layers", "keep_layers", "threshold", "objective")


def put_all(request: dict[str, Any], settings: list[str] | None) -> None:
    """Of ``--set a.b=c``: JSON where it is some, else a text."""
    for setting in settings or ():
        path, mark, text = setting.partition("=")
        if not mark or not all(path.split(".")):
            raise typer.BadParameter(f"{setting!r} is not PATH=VALUE, as in prune.strategy=top", param_hint="--set")
        put(request, path, _value(text))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def put_metadata(request: dict[str, Any], pairs: dict[str, str]) -> None:
    """``pairs`` over those that the file has."""
    if not pairs:
        return
    there = request.get("metadata") or {}
    if not isinstance(there, dict):
        raise typer.BadParameter("the file's metadata are no object", param_hint="--metadata")
    request["metadata"] = {**there, **pairs}


def put_drop(request: dict[str, Any], drop: str) -> None:
    """``4`` layers, or a share: ``0.33``, ``33%``; in place of any other amount."""
    name, much = amount(drop)
    put(request, f"prune.{name}", much)
    for other in _AMOUNTS:
        if other != name:
            request["prune"].pop(other, None)


def amount(drop: str) -> tuple[str, float]:
    """The field of ``prune`` that it is, and its value. Raises ``BadParameter``."""
    try:
        if drop.endswith("%"):
            return "drop_ratio", float(drop[:-1]) / 100
        return ("drop_ratio", float(drop)) if "." in drop else ("drop", int(drop))
    except ValueError:
        raise typer.BadParameter(f"{drop!r} is neither a number of layers nor a share", param_hint="--drop") from None
