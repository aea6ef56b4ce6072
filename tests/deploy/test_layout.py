"""The tests mirror the rooms, and none imports another: what they share is in tests/support."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
MODULES = sorted(TESTS.rglob("*.py"))
#: Folders without a room: what is tested there is more than one of them, or no Python.
BESIDE = {"support", "deploy", "integration", "chaos", "gpu", "attack"}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(TESTS)))
def test_nothing_is_imported_from_a_test_module(path: Path) -> None:
    parts = [part for name in imported(path) for part in name.split(".")]
    assert not [part for part in parts if part.startswith("test_") or part == "conftest"]


def test_every_folder_of_tests_is_that_of_a_room() -> None:
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    rooms = {folder for folder in folders if folder.parts and folder.parts[0] not in BESIDE}
    assert [str(room) for room in sorted(rooms) if not (TESTS.parent / room).is_dir()] == []
