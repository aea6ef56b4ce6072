"""What of layercut is installed: a client alone, or more."""

from __future__ import annotations

from importlib.util import find_spec

import typer

from cli.texts import say

#: What an extra brings that its commands cannot do without, and who those are.
GATEWAY = ("fastapi", "sqlalchemy", "celery", "duckdb", "obstore", "uvicorn")
WORKER = (*GATEWAY, "torch", "transformers", "jinja2", "scipy", "sklearn")
NEEDED = {"gateway": (GATEWAY, "whatever serves or keeps jobs"), "worker": (WORKER, "whatever does jobs")}


def need(extra: str) -> None:
    """Exit with one sentence where the extra is not installed."""
    modules, who = NEEDED[extra]
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        say(
            f"{', '.join(missing)} cannot be found. {who.capitalize()} needs the {extra} extra:"
            f" pip install 'layercut[{extra}]'"
        )
        raise typer.Exit(1)
