"""The layout of the tar: a function of names and sizes, the same for ever, and any part of it without the rest."""

from __future__ import annotations

import hashlib
import io
import itertools
import tarfile

import pytest

from store.archives import ArchiveDigest, FilePart, Piece, TarLayout

FILES = {
    "config.json": b"{}" * 256,
    "model.safetensors": bytes(range(256)) * 9,
    "1_Pooling/config.json": b"{}",
    "empty.txt": b"",
    f"{'long' * 40}/größe.json": b"u" * 300,
    "SHA256SUMS": b"sums",
}
TOP = "job_1-small"
LAYOUT = TarLayout(tuple((name, len(body)) for name, body in FILES.items()), TOP)


def bytes_of(pieces: list[Piece]) -> bytes:
    return b"".join(
        piece if isinstance(piece, bytes) else FILES[piece.name][piece.start : piece.start + piece.count]
        for piece in pieces
    )


WHOLE = bytes_of(list(LAYOUT.pieces()))


def test_others_can_read_it() -> None:
    with tarfile.open(fileobj=io.BytesIO(WHOLE), mode="r:") as tar:
        members = tar.getmembers()
        bodies = {member.name: tar.extractfile(member).read() for member in members if member.isfile()}  # type: ignore[union-attr]
    assert bodies == {f"{TOP}/{name}": body for name, body in FILES.items()}
    assert {member.name for member in members if member.isdir()} == {TOP, f"{TOP}/1_Pooling", f"{TOP}/{'long' * 40}"}
    names = [member.name for member in members]
    assert all(names.index(name.rpartition("/")[0]) < names.index(name) for name in names if "/" in name)
    owners = {(member.mtime, member.uid, member.gid, member.uname, member.gname) for member in members}
    assert owners == {(0, 0, 0, "", "")}


def test_it_is_the_same_for_ever() -> None:
    """A manifest holds the hash of a tar that is made later, by another version of this code."""
    assert hashlib.sha256(WHOLE).hexdigest() == "949d48c038f05f5538c1914aee4ca435b4347013d14d9a7b1725d7cd4f70a992"
    assert len(WHOLE) == LAYOUT.size
    assert len(WHOLE) % tarfile.RECORDSIZE == 0


def test_any_part_of_it_is_that_part() -> None:
    edges, position = {0, len(WHOLE)}, 0
    for piece in LAYOUT.pieces():
        position += len(piece) if isinstance(piece, bytes) else piece.count
        edges |= {position - 1, position, position + 1}
    edges = {edge for edge in edges if 0 <= edge <= len(WHOLE)}
    for start, end in itertools.combinations(sorted(edges), 2):
        assert bytes_of(list(LAYOUT.pieces(start, end))) == WHOLE[start:end]


def test_only_what_is_asked_for_is_read() -> None:
    start = WHOLE.index(FILES["model.safetensors"])
    assert list(LAYOUT.pieces(start + 5, start + 105)) == [FilePart("model.safetensors", 5, 100)]


def test_its_hash_is_made_while_the_files_are_sent() -> None:
    digest = ArchiveDigest(TOP)
    for name, body in FILES.items():
        blocks = [body[:100], body[100:]]
        assert list(digest.add(name, len(body), blocks)) == blocks
    assert (digest.finish(), digest.size) == (hashlib.sha256(WHOLE).hexdigest(), len(WHOLE))


@pytest.mark.parametrize("size", [8 * 2**30 - 1, 8 * 2**30, 2**40])
def test_a_file_may_be_larger_than_the_old_format_can_say(size: int) -> None:
    layout = TarLayout((("model.safetensors", size),), TOP)
    headers = b"".join(piece for piece in layout.pieces(0, 4096) if isinstance(piece, bytes))
    with tarfile.open(fileobj=io.BytesIO(headers), mode="r|") as tar:
        sizes = [tar.next().size for _ in range(2)]  # type: ignore[union-attr]
    assert sizes == [0, size]
    assert layout.size % tarfile.RECORDSIZE == 0
    assert layout.size > size
