"""The command as a shell meets it: its version, its completion, and what it imports before it is asked for more."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

from tests.support.serve_process import LAYERCUT, environment

#: What a command of a client must not wait for, and a base install does not have.
NEVER = ("torch", "transformers", "numpy", "fastapi", "sqlalchemy", "celery", "duckdb", "obstore", "alembic", "redis")
#: What nobody needs who only looks at help.
NOT_FOR_HELP = (*NEVER, "pydantic", "httpx", "api_schemas", "layercut")


def layercut(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LAYERCUT, *arguments], env={**environment(), **variables}, capture_output=True, text=True, check=False
    )


def imported(*arguments: str, code: int = 0) -> set[str]:
    """The packages that the command has imported when it ends, with that exit code."""
    start = (
        "import sys, atexit\n"
        "atexit.register(lambda: print(*{name.partition('.')[0] for name in sys.modules}, file=sys.__stderr__))\n"
        f"sys.argv[1:] = {list(arguments)!r}\n"
        "from cli.main import app\n"
        "app()"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", start], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_its_version() -> None:
    assert layercut("--version").stdout == f"{version('layercut')}\n"


def test_help_waits_for_nothing() -> None:
    assert imported("--help") & set(NOT_FOR_HELP) == set()
    assert imported("submit", "--help") & set(NOT_FOR_HELP) == set()


@pytest.mark.slow
def test_a_client_s_command_imports_no_part_of_a_service() -> None:
    there = imported("list", "--url", "http://127.0.0.1:9", code=4)
    assert "layercut" in there
    assert there & set(NEVER) == set()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("layercut wat", ["watch"]),
        ("layercut submit --dr", ["--drop", "--dry-run"]),
        ("layercut list --status f", ["failed"]),
    ],
)
def test_a_shell_can_complete_it(typed: str, offered: list[str]) -> None:
    words = typed.split()
    asked = {"_LAYERCUT_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    start = "import sys; sys.argv[0] = 'layercut'; from cli.main import app; app(prog_name='layercut')"
    done = subprocess.run(
        [sys.executable, "-P", "-c", start], env={**environment(), **asked}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == offered
