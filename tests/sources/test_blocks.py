"""Hashing ends within a block once nobody waits for it, and where the file ended when it began."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from sources.blocks import BLOCK, Cancelled
from sources.fingerprint import FileHashes
from tests.support.sparse_files import stretch


class Waiting:
    """Whoever waits for a hash: until ``asked`` was asked for some blocks."""

    def __init__(self, blocks: int) -> None:
        self.left = blocks

    def asked(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_a_terabyte_is_not_hashed_for_one_who_has_gone(tmp_path: Path) -> None:
    path, waiting = tmp_path / "model.safetensors", Waiting(3)
    stretch(path)
    with pytest.raises(Cancelled):
        FileHashes(tmp_path / "notes", stopped=waiting.asked).of(path)
    assert waiting.left == -1, "no block was read after it"
    assert not (tmp_path / "notes").exists(), "what was not hashed is not remembered"


def test_for_one_who_waits_the_hash_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"x" * (2 * BLOCK + 5))
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert FileHashes(tmp_path / "notes").until(Waiting(3).asked).of(path) == right


def test_a_file_that_grows_as_fast_as_it_is_read_does_not_keep_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(2 * BLOCK))

    def grow() -> bool:
        with path.open("ab") as file:
            file.write(bytes(2 * BLOCK))
        return path.stat().st_size > 20 * BLOCK

    FileHashes(tmp_path / "notes", stopped=grow).of(path)
    assert path.stat().st_size == 6 * BLOCK


def test_a_hash_goes_on_where_the_one_before_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a file that takes longer than one request may could never be hashed."""
    monkeypatch.setattr("sources.fingerprint.SETTLED_SECONDS", -1)
    path, hashes = tmp_path / "model.safetensors", FileHashes(tmp_path / "notes")
    path.write_bytes(b"".join(bytes([number]) * BLOCK for number in range(8)))
    for _ in range(2):
        with pytest.raises(Cancelled):
            hashes.until(Waiting(3).asked).of(path)
    assert hashes.until(Waiting(2).asked).of(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_was_hashed_of_a_file_before_it_changed_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sources.fingerprint.SETTLED_SECONDS", -1)
    path, hashes = tmp_path / "model.safetensors", FileHashes(tmp_path / "notes")
    path.write_bytes(bytes(4 * BLOCK))
    with pytest.raises(Cancelled):
        hashes.until(Waiting(3).asked).of(path)
    path.write_bytes(b"x" * (5 * BLOCK))
    assert hashes.of(path) == hashlib.sha256(path.read_bytes()).hexdigest()
