"""Files that were fetched: each once for all who want it, kept while they are read, and in a folder of bounded size."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from api_schemas.errors import LayercutError
from sources.fetched import FetchedFiles, Wanted

KIB = 2**10
CONTENT = bytes(range(256)) * 4 * 64  # 64 KiB


class Source:
    """Where a file comes from; ``read`` are the ranges that were asked for."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content, self.read = content, list[tuple[int, int]]()
        self.begun, self.going_on = threading.Event(), threading.Event()
        self.going_on.set()

    def __call__(self, start: int, end: int) -> Iterator[bytes]:
        self.read.append((start, end))
        self.begun.set()
        assert self.going_on.wait(30)
        for at in range(start, end, 10_000):
            yield self.content[at : min(at + 10_000, end)]

    def wanted(self, name: str = "a", **more: object) -> Wanted:
        return Wanted((name,), len(CONTENT), self, **more)  # type: ignore[arg-type]


@pytest.fixture
def files(tmp_path: Path) -> FetchedFiles:
    return FetchedFiles(tmp_path / "fetched", 150 * KIB)


def test_a_file_is_fetched_once_and_known_by_its_content(files: FetchedFiles) -> None:
    source = Source()
    for _ in range(2):
        with files.held(source.wanted()) as found:
            assert found.path.read_bytes() == CONTENT
            assert (found.sha256, found.bytes) == (hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
    assert source.read == [(0, len(CONTENT))]


def test_all_who_want_it_at_once_share_one_fetch(files: FetchedFiles) -> None:
    source = Source()
    source.going_on.clear()
    everybody = threading.Barrier(5)

    def want() -> bytes:
        everybody.wait(30)
        with files.held(source.wanted()) as found:
            return found.path.read_bytes()

    with ThreadPoolExecutor(4) as pool:
        wanted = [pool.submit(want) for _ in range(4)]
        everybody.wait(30)
        assert source.begun.wait(30)
        source.going_on.set()
        assert [one.result(30) for one in wanted] == [CONTENT] * 4
    assert len(source.read) == 1


def test_the_one_that_was_wanted_longest_ago_goes_first(files: FetchedFiles, tmp_path: Path) -> None:
    sources = {name: Source() for name in "abc"}
    for at, name in enumerate("ab"):
        with files.held(sources[name].wanted(name)):
            pass
        os.utime(tmp_path / "fetched" / f"{sources[name].wanted(name).key}.json", (at, at))
    with files.held(sources["a"].wanted("a")):  # now b is the older
        pass
    for name in "cab":
        with files.held(sources[name].wanted(name)) as found:
            assert found.path.read_bytes() == CONTENT
    assert {name: len(source.read) for name, source in sources.items()} == {"a": 1, "b": 2, "c": 1}
    assert sum(path.stat().st_size for path in (tmp_path / "fetched").iterdir()) < 150 * KIB


def test_what_is_read_stays(files: FetchedFiles) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(files.held(Source().wanted(name))) for name in "ab"]
        with pytest.raises(LayercutError, match="are being looked at") as caught, files.held(Source().wanted("c")):
            pass
        assert caught.value.code == "too_busy"
        assert all(one.path.exists() for one in held)
    with files.held(Source().wanted("c")) as found:
        assert found.path.exists()


def test_what_is_larger_than_the_folder_is_refused(files: FetchedFiles) -> None:
    large = Wanted(("large",), 151 * KIB, Source())
    with pytest.raises(LayercutError, match="LAYERCUT_FETCHED_BYTES") as caught, files.held(large):
        pass
    assert caught.value.code == "ceiling_passed"


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"!"])
def test_more_or_fewer_bytes_than_were_asked_for_are_no_file(
    files: FetchedFiles, tmp_path: Path, content: bytes
) -> None:
    wanted = Wanted(("a",), len(CONTENT), lambda *_: [content])
    with pytest.raises(LayercutError, match="that were asked for") as caught, files.held(wanted):
        pass
    assert caught.value.code == "source_unavailable"
    assert not [path for path in (tmp_path / "fetched").iterdir() if path.suffix != ".json"], "nothing of it is left"
    with files.held(Source().wanted()) as found:
        assert found.path.read_bytes() == CONTENT


def test_spans_of_a_file_lie_where_they_do_in_it(files: FetchedFiles) -> None:
    source, size = Source(), len(CONTENT)
    with files.held(source.wanted(spans=((0, 4), (size - 8, size)))) as found:
        content = found.path.read_bytes()
    assert (content[:4], content[-8:], len(content)) == (CONTENT[:4], CONTENT[-8:], size)
    assert set(content[4:-8]) == {0}
    assert (found.is_whole, found.bytes) == (False, size)
    assert source.read == [(0, 4), (size - 8, size)]


def test_what_a_process_that_died_had_begun_is_fetched_anew(files: FetchedFiles, tmp_path: Path) -> None:
    wanted = Source().wanted()
    (tmp_path / "fetched").mkdir()
    (tmp_path / "fetched" / f"{wanted.key}.part").write_bytes(b"half")
    (tmp_path / "fetched" / f"{wanted.key}.json").write_bytes(b"")
    with files.held(wanted) as found:
        assert found.path.read_bytes() == CONTENT
