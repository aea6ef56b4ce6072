"""What a runner leaves in its folders is copied by handle: no link is followed, and nothing is taken without limits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from workers.supervision.runner_folders import MAX_FILES, copy_files, entered, link_files, made_folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder in a scratch folder, beside one of the host."""
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "weights").write_text("secret")
    folder = tmp_path / "scratch" / "made" / "thing"
    folder.mkdir(parents=True)
    (folder / "weights").write_text("weights")
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def copy(source: Path, target: Path, **more: object) -> int:
    with entered(source.parents[1], source.parent.name, source.name) as theirs, entered(target) as ours:
        return copy_files(theirs, ours, **more)  # type: ignore[arg-type]


def test_what_is_taken_is_a_copy_that_its_runner_cannot_write_to(source: Path, target: Path) -> None:
    with (source / "weights").open("r+") as still_open:
        assert copy(source, target) == len("weights")
        still_open.write("changed")
    assert (target / "weights").read_text() == "weights"


def test_where_the_disk_cannot_copy_by_itself_it_is_read(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "copy_file_range", raising=False)
    (source / "large").write_bytes(os.urandom(3 * 2**20 + 1))
    copy(source, target)
    assert (target / "large").read_bytes() == (source / "large").read_bytes()


@pytest.mark.parametrize("place", ["scratch/made/thing", "scratch/made"])
def test_a_link_in_the_place_of_a_folder_is_not_followed(source: Path, target: Path, place: str) -> None:
    root = source.parents[2]
    (root / "aside").mkdir()
    (root / place).rename(root / "aside" / "thing")
    (root / place).symlink_to(root / "aside")
    with pytest.raises(OSError, match=r"thing|made"):
        copy(source, target)
    assert list(target.iterdir()) == []


def test_nor_by_what_makes_a_folder(source: Path) -> None:
    host = source.parents[2] / "host"
    (source.parent / "next").symlink_to(host)
    host.chmod(0o700)
    with entered(source.parent) as made, pytest.raises(OSError, match="next"), made_folder(made, "next"):
        pytest.fail("the host's folder would be given away")
    assert host.stat().st_mode & 0o777 == 0o700


PLANTED: dict[str, Callable[[Path, Path], None]] = {
    "link": lambda here, host: here.symlink_to(host / "weights"),
    "link to a folder": lambda here, host: here.symlink_to(host),
    "second name of a file": lambda here, host: os.link(host / "weights", here),
    "pipe": lambda here, _: os.mkfifo(here),
    "folder": lambda here, _: here.mkdir(),
}


@pytest.mark.parametrize("what", PLANTED)
def test_of_a_folder_with_anything_but_plain_files_nothing_is_taken(source: Path, target: Path, what: str) -> None:
    PLANTED[what](source / "planted", source.parents[2] / "host")
    with pytest.raises(OSError, match="planted"):
        copy(source, target)
    assert list(target.iterdir()) == []


def test_of_files_that_are_named_those_that_are_there_are_taken(source: Path, target: Path) -> None:
    (source / "planted").symlink_to(source.parents[2] / "host")
    copy(source, target, names=("weights", "facts"))
    assert os.listdir(target) == ["weights"]


def test_too_much_is_refused_before_it_takes_room(source: Path, target: Path) -> None:
    with pytest.raises(OSError, match="more than the 6"):
        copy(source, target, limit=6)
    with (source / "sparse").open("wb") as file:
        file.truncate(2**42)
    with pytest.raises(OSError, match="no room"):
        copy(source, target)
    for number in range(MAX_FILES):
        (source / f"file-{number}").touch()
    with pytest.raises(OSError, match=f"more than {MAX_FILES}"):
        copy(source, target)
    assert list(target.iterdir()) == []


def test_of_a_file_that_grows_meanwhile_no_more_is_taken_than_was_counted(source: Path, target: Path) -> None:
    def grows() -> bool:
        with (source / "weights").open("a") as file:
            file.write("more and more")
        return False

    copy(source, target, limit=7, stopped=grows)
    assert (target / "weights").read_text() == "weights"


def test_a_file_that_gets_shorter_meanwhile_is_not_taken_for_whole(source: Path, target: Path) -> None:
    with pytest.raises(OSError, match="shorter"):
        copy(source, target, stopped=lambda: os.truncate(source / "weights", 0) is not None)


def test_a_copy_that_nobody_waits_for_ends(source: Path, target: Path) -> None:
    with pytest.raises(OSError, match="nobody waits"):
        copy(source, target, stopped=lambda: True)


def test_a_thing_of_the_cache_is_lent_as_the_same_file(source: Path, target: Path) -> None:
    with entered(source) as ours, entered(target) as lent:
        link_files(ours, lent)
    assert (target / "weights").samefile(source / "weights")
