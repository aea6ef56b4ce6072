"""What the Markdown pages name is there, their lines are short, and they need nothing from beside the repository."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from layercut.client.settings import KEY, URL

ROOT = Path(__file__).parents[2]
# Not all of the tree: models, demo output and environments lie in it too.
FOLDERS = (
    "figures",
    ".github", "api_schemas", "benchmarks", "cli", "demo", "deploy", "docs", "service", "sources", "store", "telemetry",
    "tests", "workers",
)  # fmt: skip
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
DECISIONS = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))

LINK = re.compile(r"\]\(([^)\s]+)\)")
# `docs/x.md`, `service/routes/`: what begins with one of our folders and goes on.
PATH = re.compile(rf"`((?:{'|'.join(map(re.escape, (*FOLDERS, '.ci')))})/[\w./-]*)`")
#: Of what was, a changelog may speak.
HISTORY = ROOT / "CHANGELOG.md"


def each(pages: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", pages, ids=[str(page.relative_to(ROOT)) for page in pages])


def dead_links(page: Path) -> Iterator[str]:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


def anchors(page: Path) -> set[str]:
    """The headings, as GitHub writes them in addresses."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each(PAGES)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(dead_links(page)) == []


@each([page for page in PAGES if page != HISTORY])
def test_every_path_exists(page: Path) -> None:
    named = set(PATH.findall(page.read_text(encoding="utf-8")))
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


@each(PAGES)
def test_no_line_is_too_long(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [number for number, line in enumerate(lines, start=1) if len(line) > 120] == []


@each(PAGES)
def test_a_clone_needs_nothing_from_beside_it(page: Path) -> None:
    assert re.findall(r"\.\./shared|(?<![\w/])shared/|\bDESIGN\b", page.read_text(encoding="utf-8")) == []


@each([page for page in PAGES if page != HISTORY])
def test_every_setting_is_one(page: Path) -> None:
    known = set(re.findall(r"LAYERCUT_[A-Z_]+[A-Z]", (ROOT / "deploy" / "env.example").read_text(encoding="utf-8")))
    assert set(re.findall(r"LAYERCUT_[A-Z_]+[A-Z]", page.read_text(encoding="utf-8"))) <= known | {URL, KEY}


@each(PAGES)
def test_every_make_command_is_a_target(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8"))) <= targets


@each(DECISIONS)
def test_a_decision_is_short_and_has_its_four_parts(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert re.match(rf"# {page.name[:4]}\. ", lines[0])
    parts = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    assert parts == ["Status", "Context", "Decision", "Consequence"]
    assert len(lines) >= 15
    assert len([line for line in lines if line.strip()]) <= 25


def test_decisions_are_numbered_without_gaps_and_all_in_the_index() -> None:
    assert [page.name[:4] for page in DECISIONS] == [f"{number:04d}" for number in range(1, len(DECISIONS) + 1)]
    index = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    assert [link for link in LINK.findall(index) if link[:4].isdecimal()] == [page.name for page in DECISIONS]


def test_every_page_of_the_lab_is_in_its_index() -> None:
    lab = ROOT / "docs" / "lab"
    pages = {page.name for page in lab.glob("*.md")} - {"README.md"}
    assert set(LINK.findall((lab / "README.md").read_text(encoding="utf-8"))) == pages
