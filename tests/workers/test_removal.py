"""What a runner left is removed, however it was nested, shut or linked."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.support.nested_folders import nest
from workers.removal import remove_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def test_folders_nested_beyond_any_path_go(tree: Path) -> None:
    nest(tree, 1200, name="a" * 200)
    nest(tree, 30)
    assert remove_tree(tree)
    assert not tree.exists()


def test_of_folders_with_many_in_each_none_is_left(tree: Path) -> None:
    for first in range(6):
        for second in range(6):
            (tree / f"{first}" / f"{second}" / "x" / "y").mkdir(parents=True)
            for place in (tree / f"{first}", tree / f"{first}" / f"{second}", tree / f"{first}" / f"{second}" / "x"):
                (place / f"file-{second}").touch()
    for number in range(3000):
        (tree / f"file-{number}").touch()
    assert remove_tree(tree)
    assert not tree.exists()


def test_links_are_removed_and_never_followed(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "host").mkdir(0o500)
    (tmp_path / "host").chmod(0o700)
    (tmp_path / "host" / "key").write_text("secret")
    (tmp_path / "host").chmod(0o500)
    (tree / "folder").symlink_to(tmp_path / "host")
    (tree / "file").symlink_to(tmp_path / "host" / "key")
    os.link(tmp_path / "host" / "key", tree / "second-name")
    os.mkfifo(tree / "pipe")
    assert remove_tree(tree)
    (tmp_path / "scratch").symlink_to(tmp_path / "host")
    assert remove_tree(tmp_path / "scratch")
    assert not (tmp_path / "scratch").is_symlink()
    assert (tmp_path / "host" / "key").read_text() == "secret"
    assert stat.S_IMODE((tmp_path / "host").stat().st_mode) == 0o500


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o500, 0o300])
def test_folders_that_are_shut_to_their_owner_go(tree: Path, mode: int) -> None:
    inner = tree / "one" / "two"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    for folder in (inner, inner.parent, tree):
        folder.chmod(mode)
    assert remove_tree(tree)
    assert not tree.exists()


def test_what_is_not_there_is_removed_already(tmp_path: Path) -> None:
    assert remove_tree(tmp_path / "none")
    assert remove_tree(tmp_path / "none" / "none")


def test_where_it_takes_too_long_the_rest_is_left_and_told(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tree / "file").touch()
    assert not remove_tree(tree, seconds=-1.0)
    assert "too long" in caplog.text
    assert (tree / "file").exists()
