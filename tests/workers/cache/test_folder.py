"""The cache of one host: processes that ask at once, a maker that is killed, too much on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import eventually
from workers.cache.folder import FRESH_SECONDS, FolderCache

FINGERPRINT = "a" * 64

# Argument: the folder. Says when it makes, and waits in the middle of that until it may go on.
PROCESS = """
import os, sys, time
from pathlib import Path
from workers.cache.folder import FolderCache

folder = Path(sys.argv[1])

def make(here):
    (here / "half").write_text("x")
    (folder / f"makes-{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    (here / "thing").write_text("whole")

print("asks", flush=True)
entry = FolderCache(folder / "cache", 1 << 20).get("baseline", "a" * 64, make)
print(entry.reused, (entry.folder / "thing").read_text(), sorted(os.listdir(entry.folder)))
"""


def ask(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, folder], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "asks\n"
    return process


def makers(folder: Path) -> set[int]:
    return {int(path.name.removeprefix("makes-")) for path in folder.glob("makes-*")}


def answer(process: subprocess.Popen[str]) -> str:
    with process:
        return process.communicate(timeout=30)[0].strip()


def test_of_many_processes_one_makes(tmp_path: Path) -> None:
    processes = [ask(tmp_path) for _ in range(4)]
    eventually(lambda: makers(tmp_path))
    (tmp_path / "go").touch()
    answers = sorted(answer(process) for process in processes)
    assert answers == ["False whole ['half', 'thing']"] + ["True whole ['half', 'thing']"] * 3
    assert len(makers(tmp_path)) == 1


def test_after_kill_9_of_the_maker_one_that_waits_makes_it_from_the_start(tmp_path: Path) -> None:
    first = ask(tmp_path)
    eventually(lambda: makers(tmp_path) == {first.pid})
    second = ask(tmp_path)
    first.send_signal(signal.SIGKILL)
    answer(first)
    eventually(lambda: second.pid in makers(tmp_path))
    (tmp_path / "go").touch()
    assert answer(second) == "False whole ['half', 'thing']"


def put(cache: FolderCache, letter: str, size: int) -> Path:
    return cache.get(
        "baseline", letter * 64, lambda folder: (folder / "thing").write_bytes(b"x" * size) and None
    ).folder


def test_a_make_that_fails_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    cache = FolderCache(tmp_path, 100)

    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise ValueError("diverged")

    with pytest.raises(ValueError, match="diverged"):
        cache.get("baseline", FINGERPRINT, fail)
    assert cache.find("baseline", FINGERPRINT) is None
    assert os.listdir(put(cache, "a", 5)) == ["thing"]


def test_what_lost_its_content_is_made_again(tmp_path: Path) -> None:
    cache = FolderCache(tmp_path, 100)
    put(cache, "a", 5)
    assert cache.get("baseline", FINGERPRINT, pytest.fail).reused
    (tmp_path / "baseline" / FINGERPRINT / "files" / "thing").write_bytes(b"")
    assert not cache.get("baseline", FINGERPRINT, lambda folder: (folder / "thing").write_bytes(b"y") and None).reused


def test_a_link_where_the_files_should_be_is_neither_read_nor_filled(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thing").write_bytes(b"other")
    cache = FolderCache(tmp_path / "cache", 100)
    files = put(cache, "a", 5)
    (files / "thing").unlink()
    files.rmdir()
    files.symlink_to(tmp_path / "other")
    assert cache.find("baseline", FINGERPRINT) is None

    assert cache.put("baseline", FINGERPRINT, lambda folder: (folder / "new").touch(), 1.0) == files
    assert not files.is_symlink()
    assert os.listdir(files) == ["new"]
    assert os.listdir(tmp_path / "other") == ["thing"]


def test_of_a_thing_that_could_not_be_copied_nothing_is_left(tmp_path: Path) -> None:
    cache = FolderCache(tmp_path, 100)

    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        cache.put("baseline", FINGERPRINT, fail, 1.0)
    assert list((tmp_path / "baseline").iterdir()) == []


def test_what_was_not_used_for_longest_goes_and_what_was_used_just_now_stays(tmp_path: Path) -> None:
    cache = FolderCache(tmp_path, 1000)
    for age, letter in ((3, "a"), (2, "b"), (1, "c")):
        put(cache, letter, 10)
        then = time.time() - age * 2 * FRESH_SECONDS
        os.utime(tmp_path / "baseline" / (letter * 64) / "made.json", (then, then))
    assert cache.find("baseline", "a" * 64) is not None  # now the latest used
    cache = FolderCache(tmp_path, 25)
    put(cache, "d", 10)
    kept = {letter for letter in "abcd" if cache.find("baseline", letter * 64)}
    assert kept == {"a", "d"}
    put(cache, "e", 100)
    assert {letter for letter in "ade" if cache.find("baseline", letter * 64)} == {"a", "d", "e"}


def test_a_part_has_its_own_things_and_shares_the_room(tmp_path: Path) -> None:
    whole = FolderCache(tmp_path, 150)
    parts = [whole.part("team-a"), whole.part("team-b")]
    for cache in (whole, *parts):
        assert put(cache, "a", 100)
        assert not cache.find("baseline", "b" * 64)
    everything = [whole, *parts]
    assert len({cache.root for cache in everything}) == 3
    assert all(cache.find("baseline", "a" * 64) for cache in everything), "just used: nothing goes yet"
    for age, cache in enumerate(everything):
        mark = next(cache.root.glob("baseline/*/made.json"))
        os.utime(mark, (mark.stat().st_mtime - 10_000 + age,) * 2)
    put(parts[1], "b", 10)
    assert [bool(cache.find("baseline", "a" * 64)) for cache in everything] == [False, False, True]
