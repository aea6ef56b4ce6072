"""The README's tree has every file, and no file that is gone; its commands are targets of the Makefile."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

UNNAMED = ("__init__.py", "py.typed")


def tree() -> Iterator[str]:
    """The paths of the tree: a name is under the last folder that stands further left."""
    block = README.split("<!-- tree -->")[1].split("```")[1]
    folder = ""
    for line in block.strip().splitlines():
        name, remark = line.split(maxsplit=1)
        assert remark
        if not line.startswith(" "):
            folder = name if name.endswith("/") else ""
        yield name if name == folder else folder + name


def test_what_the_tree_names_is_there() -> None:
    assert [path for path in tree() if not (ROOT / path).exists()] == []


def test_each_file_has_one_line() -> None:
    assert [path for path, lines in Counter(tree()).items() if lines > 1] == []


def test_every_file_of_a_room_is_in_the_tree() -> None:
    named = set(tree())
    rooms = [path for path in named if path.endswith("/") and path.count("/") == 1 and path != "tests/"]
    files = {file for room in rooms for file in (ROOT / room).rglob("*") if file.is_file() and file.name not in UNNAMED}
    paths = {str(file.relative_to(ROOT)) for file in files if "__pycache__" not in file.parts}
    missing = {path for path in paths if path not in named and not _under_named_folder(path, named)}
    assert missing == set()


def _under_named_folder(path: str, named: set[str]) -> bool:
    parts = path.split("/")
    return any("/".join(parts[:depth]) + "/" in named for depth in range(2, len(parts)))


def test_every_make_command_of_the_readme_is_a_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z-]+)", README)):
        assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE), f"make {target}"


def test_the_links_lead_to_files() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
