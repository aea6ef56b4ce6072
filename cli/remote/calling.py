"""A client for one command; what it raises becomes a sentence and an exit code."""

# ruff: noqa: PLC0415 - help and completion wait for no client

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from cli.exits import Exit
from cli.texts import plain, say

if TYPE_CHECKING:
    from layercut.client import Client, LayercutApiError


@contextmanager
def calling(url: str | None, *, as_json: bool = False) -> Iterator[Client]:
    """What fails is said on stderr, as JSON where stdout is."""
    from layercut.client import Client

    try:
        with Client(url) as client:
            yield client
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None
    except BrokenPipeError:  # nobody reads on: typer ends it quietly
        raise
    except Exception as error:
        code = _exit_of(error)
        if code is None:
            raise
        _tell(error, code, as_json=as_json)
        raise typer.Exit(code) from None


def _exit_of(error: Exception) -> Exit | None:
    from layercut.client import ClientError, InvalidAnswer, LayercutApiError, StudyTimeout, Unreachable, WaitTimeout

    table: tuple[tuple[type[Exception], Exit], ...] = (
        (LayercutApiError, Exit.REFUSED),
        (Unreachable, Exit.UNREACHABLE),
        (InvalidAnswer, Exit.UNREACHABLE),
        (WaitTimeout, Exit.TIMEOUT),
        (StudyTimeout, Exit.TIMEOUT),
        (ClientError, Exit.FILES),
        (OSError, Exit.FILES),
        (ValueError, Exit.USAGE),
    )
    return next((code for kind, code in table if isinstance(error, kind)), None)


def _tell(error: Exception, code: Exit, *, as_json: bool) -> None:
    from layercut.client import Unreachable

    problem = getattr(error, "problem", None)
    sentence = _refusal(error) if code is Exit.REFUSED else str(error)  # type: ignore[arg-type]
    if isinstance(error, Unreachable):
        sentence += f"; {_NOBODY_THERE}"
    if not as_json:
        say(plain(sentence))
        return
    told: dict[str, Any] = {"message": sentence, "exit_code": int(code)}
    if problem is not None:
        told["problem"] = problem.model_dump(mode="json")
    typer.echo(json.dumps({"error": told}), err=True)


def _refusal(error: LayercutApiError) -> str:
    """With the fields to blame, and what to quote to whoever runs the service."""
    fields = ", ".join(dict.fromkeys(fault.pointer for fault in error.errors if fault.pointer))
    where = f" [{fields}]" if fields and fields not in error.detail else ""
    hint = f"; {_HINTS[error.code]}" if error.code in _HINTS else ""
    request = f" (request {error.request_id})" if error.status >= 500 and error.request_id else ""
    return f"{error.detail}{where}{hint}{request}"


_NOBODY_THERE = "layercut serve starts a service here, --url or LAYERCUT_URL names one elsewhere"
_OWN_FILES = "a file of your own machine is sent along with --upload"
_HINTS: dict[str | None, str] = {
    "unauthorized": "a key is given by LAYERCUT_API_KEY",
    "model_not_allowed": _OWN_FILES,
    "dataset_not_allowed": _OWN_FILES,
    "dataset_not_found": _OWN_FILES,
}
