"""The files of an artifact: dtype, tokenizer, hashes, and the one tar."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from api_schemas.errors import LayercutError
from tests.support.tiny_models import SENTENCES, build, tiny_tokenizer
from workers.export.archive import make_archive
from workers.export.files import export_model, write_sums

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_are_written_in_the_asked_dtype_and_the_model_stays_as_it_is(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    model = build("bert")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    export_model(model, tiny_tokenizer("bert"), tmp_path, dtype)
    written = load_file(tmp_path / "model.safetensors")
    assert {weight.dtype for weight in written.values()} == {dtype}
    assert all(torch.equal(written[name], before[name].to(dtype)) for name in written)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_chat_templates_lie_in_a_folder_that_others_can_enter(tmp_path: Path) -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer("bert"))  # which other tests have too
    tokenizer.chat_template = {"default": "a", "tool_use": "b"}
    export_model(build("bert"), tokenizer, tmp_path, torch.float32)
    templates = tmp_path / "additional_chat_templates"
    assert templates.stat().st_mode & 0o111 == 0o111
    assert "additional_chat_templates/tool_use.jinja" in write_sums(tmp_path).read_text(encoding="utf-8")


def test_a_weight_too_large_for_the_dtype_is_not_exported_as_infinity(tmp_path: Path) -> None:
    model = build("bert")
    model.classifier.weight.data[0, 0] = 1e6
    with pytest.raises(LayercutError, match=r"classifier\.weight .*float16") as caught:
        export_model(model, tiny_tokenizer("bert"), tmp_path, torch.float16)
    assert caught.value.code == "export_failed"
    assert not list(tmp_path.iterdir())


def test_only_safe_files_are_written_and_the_tokenizer_carries_no_padding(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer("bert")
    # As training leaves it: the backend remembers the last call.
    tokenizer(list(SENTENCES), padding="max_length", truncation=True, max_length=16)
    export_model(build("bert"), tokenizer, tmp_path, torch.float32)
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".safetensors", ".txt"}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}
    written = json.loads((tmp_path / "tokenizer.json").read_text())
    assert written["padding"] is written["truncation"] is None


def test_sums_satisfy_sha256sum(tmp_path: Path) -> None:
    export_model(build("bert"), tiny_tokenizer("bert"), tmp_path, torch.float32)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "ünïcode name.json").write_text("{}")
    write_sums(tmp_path)
    first = (tmp_path / "SHA256SUMS").read_bytes()
    assert write_sums(tmp_path).read_bytes() == first, "the list must not list itself"
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == len([path for path in tmp_path.rglob("*") if path.is_file()]) - 1
    (tmp_path / "config.json").write_text("{}")
    assert subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path, capture_output=True, check=False).returncode


def filled(folder: Path, *, newest_first: bool) -> Path:
    names = ["b.json", "a.txt", "sub/c.json"]
    (folder / "sub").mkdir(parents=True)
    for age, name in enumerate(reversed(names) if newest_first else names):
        (folder / name).write_text(name)
        (folder / name).chmod(0o600 if newest_first else 0o640)
        os.utime(folder / name, (age + 1, age + 1))
    return folder


def test_the_same_files_give_the_same_tar(tmp_path: Path) -> None:
    one = make_archive(filled(tmp_path / "x", newest_first=False), tmp_path / "one.tar", "job_1")
    two = make_archive(filled(tmp_path / "y", newest_first=True), tmp_path / "two.tar", "job_1")
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (one, two)}
    assert len(digests) == 1
    with tarfile.open(one, "r:") as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == [
        "job_1",
        "job_1/a.txt",
        "job_1/b.json",
        "job_1/sub",
        "job_1/sub/c.json",
    ]
    assert {member.mtime for member in members} == {0}
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
    assert {member.mode for member in members if member.isfile()} == {0o644}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.tar", "two.tar", "x", "y"]


def test_a_tar_unpacks_to_the_same_files(tmp_path: Path) -> None:
    folder = filled(tmp_path / "x", newest_first=False)
    archive = make_archive(folder, tmp_path / "a.tar", "name")
    subprocess.run(["tar", "-xf", archive.name], cwd=tmp_path, check=True)
    for path in folder.rglob("*"):
        if path.is_file():
            assert (tmp_path / "name" / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_a_link_does_not_get_into_the_tar(tmp_path: Path) -> None:
    folder = filled(tmp_path / "x", newest_first=False)
    (folder / "link").symlink_to("/etc/hostname")
    with pytest.raises(ValueError, match="link"):
        make_archive(folder, tmp_path / "a.tar", "name")
    assert not (tmp_path / "a.tar").exists()


def test_how_much_is_hashed_is_told_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.export.files.BLOCK", 4)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("ten bytes.")
    told: list[tuple[int, int]] = []
    write_sums(tmp_path, lambda *of: told.append(of))
    assert told == [(4, 20), (8, 20), (10, 20), (14, 20), (18, 20), (20, 20)]
