"""The cache as a runner sees it: what it asks, and what it leaves."""

from __future__ import annotations

from pathlib import Path

from workers.cache.remote import RemoteCache
from workers.protocol import CacheAnswer


def test_the_runners_own_files_go_once_the_supervisor_has_a_copy(tmp_path: Path) -> None:
    own, lent = tmp_path / "own", tmp_path / "lent"
    own.mkdir()
    answers = iter([CacheAnswer(folder=own, made=False), CacheAnswer(folder=lent, made=True)])
    cache = RemoteCache(tmp_path, lambda _: None, lambda: next(answers).model_dump_json())

    entry = cache.get("baseline", "a" * 64, lambda folder: (folder / "weights").write_text("x") and None)

    assert (entry.folder, entry.reused) == (lent, False)
    assert not own.exists()


def test_and_stay_where_it_keeps_none(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    answers = iter([CacheAnswer(folder=tmp_path / "own", made=made) for made in (False, True)])
    cache = RemoteCache(tmp_path, lambda _: None, lambda: next(answers).model_dump_json())

    entry = cache.get("baseline", "a" * 64, lambda folder: (folder / "weights").write_text("x") and None)

    assert (entry.folder / "weights").read_text() == "x"
