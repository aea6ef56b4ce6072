"""Names that strangers chose are opened beneath their folder, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from api_schemas.errors import LayercutError
from sources.beneath import Folder, LeadsOut, NotRegular, list_names, open_regular

SECRET = "not for you"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "root" / "model" / "sub").mkdir(parents=True)
    (tmp_path / "root" / "model" / "vocab.txt").write_text("words")
    (tmp_path / "root" / "blobs").mkdir()
    (tmp_path / "root" / "blobs" / "abc").write_text("a blob")
    return tmp_path / "root"


def _content(root: Path, name: str) -> str:
    with open_regular(root, name) as file:
        return file.read().decode()


def test_a_file_and_links_that_stay_beneath_the_root_are_read(root: Path) -> None:
    (root / "model" / "relative").symlink_to("../blobs/abc")
    (root / "model" / "absolute").symlink_to(root / "blobs" / "abc")
    (root / "model" / "folder").symlink_to("../blobs")

    assert _content(root, "model/vocab.txt") == "words"
    assert [_content(root, f"model/{name}") for name in ("relative", "absolute", "folder/abc")] == ["a blob"] * 3


@pytest.mark.parametrize(
    "target", ["../../secret.txt", "/etc/passwd", "../../root/../secret.txt", "/proc/self/environ"]
)
def test_a_link_that_leads_out_is_refused(root: Path, target: str) -> None:
    (root / "model" / "sub" / "x.jinja").symlink_to(target if target.startswith("/") else f"../{target}")

    with pytest.raises(LeadsOut):
        open_regular(root, "model/sub/x.jinja")
    with pytest.raises(LayercutError) as caught:
        Folder(root, root / "model", id="m").read("sub/x.jinja", 100)
    assert caught.value.code == "model_not_allowed"
    assert "'sub/x.jinja' in 'm'" in caught.value.message


def test_a_folder_that_is_a_link_out_is_refused_as_well(root: Path) -> None:
    (root / "model" / "sub2").symlink_to(root.parent)

    with pytest.raises(LeadsOut):
        open_regular(root, "model/sub2/secret.txt")
    with pytest.raises(LeadsOut):
        open_regular(root, "../secret.txt")


def test_links_that_go_in_circles_are_refused(root: Path) -> None:
    (root / "model" / "a").symlink_to("b")
    (root / "model" / "b").symlink_to("a")

    with pytest.raises(LeadsOut):
        open_regular(root, "model/a")


def test_what_is_no_file_is_refused_without_waiting(root: Path) -> None:
    os.mkfifo(root / "model" / "zzz.safetensors")

    with pytest.raises(NotRegular):
        open_regular(root, "model/zzz.safetensors")
    with pytest.raises(NotRegular):
        open_regular(root, "model/sub")
    assert "zzz.safetensors" in list_names(root, "model")


def test_a_file_larger_than_asked_is_refused_with_both_numbers(root: Path) -> None:
    folder = Folder(root, root / "model", id="m")

    assert folder.read("vocab.txt", 5) == b"words"
    with pytest.raises(LayercutError, match=r"vocab\.txt of 'm' has 5 bytes; at most 4 are read"):
        folder.read("vocab.txt", 4)


def test_a_folder_knows_what_is_in_it(root: Path) -> None:
    (root / "model" / "out").symlink_to("/etc")
    folder = Folder(root, root / "model", id="m")

    assert folder.names() == ["out", "sub", "vocab.txt"]
    assert folder.has("vocab.txt")
    assert folder.has("sub")
    assert folder.has("out")  # it is there; opening it says what is wrong
    assert not folder.has("config.json")
    assert folder.names("nothing") == []
