"""What the supervisor answers when its runner asks the cache: two workers with a cache each, on one store."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_schemas.events import EventType
from api_schemas.jobs import Status
from api_schemas.tenants import Quotas
from sources.cached_files import KINDS, Kind
from store.tenants import TenantStore
from tests.support.processes import eventually
from tests.support.supervisor_rig import FAKE_RUNNER, UNLOCKED, Rig, no_inputs
from workers.protocol import CacheAnswer
from workers.settings import WorkerSettings
from workers.supervision.runner_process import RunnerProcess


@pytest.fixture
def other(worker_settings: WorkerSettings, tmp_path: Path) -> Iterator[Rig]:
    """Another worker, on another host: it shares the database and the artifacts, and no folder."""
    rig = Rig(worker_settings.model_copy(update={"scratch_dir": tmp_path / "elsewhere"}), FAKE_RUNNER, no_inputs)
    yield rig
    rig.close()


def logs(rig: Rig, job_id: str) -> list[str]:
    return [event.message for event in rig.events(job_id) if event.type == EventType.LOG]


def start_making(rig: Rig, folder: Path, *after: str, **limits: int) -> str:
    """A job that is at making the thing when this returns."""
    here = folder / "making"
    job_id = rig.submit("want:a", f"touch:{here}", f"wait:{folder}/go", *after, **limits)
    rig.start()
    eventually(here.exists)
    return job_id


def start_waiting(rig: Rig, maker: str, *after: str, **limits: int) -> str:
    """A job that waits for the thing when this returns."""
    job_id = rig.submit("want:a", *after, **limits)
    rig.start()
    eventually(lambda: f"waiting for the baseline that {maker} is making" in logs(rig, job_id))
    return job_id


def ended(rig: Rig, job_id: str) -> Status:
    eventually(lambda: rig.store.get(job_id).status.terminal)
    return rig.store.get(job_id).status


def test_one_makes_the_other_waits_and_both_have_it(rig: Rig, other: Rig, tmp_path: Path) -> None:
    maker = start_making(rig, tmp_path, "fill:weights", "made:a", "succeed")
    waiter = start_waiting(other, maker, "succeed")
    (tmp_path / "go").touch()

    assert (ended(rig, maker), ended(other, waiter)) == (Status.SUCCEEDED, Status.SUCCEEDED)
    assert logs(rig, maker) == ["make:[]", "made:weights"]
    assert logs(other, waiter)[-1] == "have:weights:7.0"
    assert logs(rig, rig.run("want:a", "succeed").id) == ["have:weights:7.0"]
    assert other.scratch() == [other.settings.scratch_root / "cache"]


@pytest.mark.parametrize("death", ["die:9", "exit:3", "fail:training_diverged"])
def test_when_the_makers_runner_ends_the_one_that_waits_makes_it(
    rig: Rig, other: Rig, tmp_path: Path, death: str
) -> None:
    maker = start_making(rig, tmp_path, "fill:half", death, max_attempts=1)
    waiter = start_waiting(other, maker, "fill:whole", "made:a", "succeed")
    (tmp_path / "go").touch()

    assert ended(rig, maker) == Status.FAILED
    assert ended(other, waiter) == Status.SUCCEEDED
    assert logs(other, waiter)[1:] == ["make:[]", "made:whole"]


def test_a_maker_that_is_cancelled_or_stopped_makes_room_for_the_next(rig: Rig, other: Rig, tmp_path: Path) -> None:
    maker = start_making(rig, tmp_path, "made:a", "succeed")
    waiter = start_waiting(other, maker, "fill:whole", "made:a", "succeed")
    rig.store.cancel(maker)
    assert ended(other, waiter) == Status.SUCCEEDED
    assert ended(rig, maker) == Status.CANCELLED


def test_one_that_waits_can_be_cancelled_and_its_time_runs(rig: Rig, other: Rig, tmp_path: Path) -> None:
    maker = start_making(rig, tmp_path, "fill:weights", "made:a", "succeed")
    waiter = start_waiting(other, maker, "succeed")
    other.store.cancel(waiter)
    assert ended(other, waiter) == Status.CANCELLED

    eventually(lambda: not any(thread.is_alive() for thread in other._threads))
    impatient = start_waiting(other, maker, "succeed", max_runtime_seconds=2)
    assert ended(other, impatient) == Status.FAILED
    error = other.store.get(impatient).error
    assert error is not None
    assert error.code == "timeout"
    (tmp_path / "go").touch()
    assert ended(rig, maker) == Status.SUCCEEDED


def test_a_cache_that_cannot_be_written_costs_no_job(rig: Rig, other: Rig) -> None:
    (rig.settings.data_dir / "artifacts" / "cache").write_text("a file where the folder should be")
    first = rig.run("want:a", "fill:weights", "made:a", "succeed")
    second = other.run("want:a", "fill:again", "made:a", "succeed")

    assert (first.status, second.status) == (Status.SUCCEEDED, Status.SUCCEEDED)
    assert logs(other, second.id) == ["make:[]", "made:again"]


def test_files_that_are_gone_are_made_anew(rig: Rig, other: Rig) -> None:
    rig.run("want:a", "fill:weights", "made:a", "succeed")
    shutil.rmtree(rig.settings.data_dir / "artifacts" / "cache")
    job = other.run("want:a", "fill:again", "made:a", "succeed")
    assert logs(other, job.id) == ["make:[]", "made:again"]


def test_what_a_store_that_is_away_has_is_not_forgotten(rig: Rig, other: Rig, tmp_path: Path) -> None:
    rig.run("want:a", "fill:weights", "made:a", "succeed")
    folder = rig.settings.data_dir / "artifacts"
    away = folder.rename(tmp_path / "away")
    job_id = start_making(other, tmp_path, "succeed")
    away.rename(folder)
    (tmp_path / "go").touch()
    assert ended(other, job_id) == Status.SUCCEEDED
    assert logs(other, job_id) == ["make:[]"], "by itself"
    assert logs(other, other.run("want:a", "succeed").id) == ["have:weights:7.0"]


def test_nor_is_what_a_store_has_that_goes_away_in_the_midst(
    rig: Rig, other: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.run("want:a", "fill:weights", "made:a", "succeed")
    folder, opened = rig.settings.data_dir / "artifacts", other.artifacts.open_range

    def open_late(*place: Any) -> Iterator[bytes]:
        """The list of files has been read by then."""
        folder.rename(tmp_path / "away")
        return opened(*place)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(other.artifacts, "open_range", open_late)
        job_id = start_making(other, tmp_path, "succeed")
    (tmp_path / "away").rename(folder)
    (tmp_path / "go").touch()
    assert ended(other, job_id) == Status.SUCCEEDED
    assert logs(other, job_id) == ["make:[]"], "by itself"
    assert logs(other, other.run("want:a", "succeed").id) == ["have:weights:7.0"]


def test_what_was_evicted_for_all_is_given_back_by_a_host_that_has_it(rig: Rig, other: Rig) -> None:
    rig.run("want:a", "fill:weights", "made:a", "succeed")
    (prefix,) = rig.cache.evict(0)
    rig.artifacts.delete(prefix)
    assert logs(rig, rig.run("want:a", "succeed").id) == ["have:weights:7.0"]
    assert logs(other, other.run("want:a", "succeed").id) == ["have:weights:7.0"]


def asked(letter: str, kind: str = "baseline") -> str:
    """Said by a runner that does not wait for the answer."""
    return f'say:{{"cache":"want","kind":"{kind}","fingerprint":"{letter * 64}"}}'


@pytest.mark.parametrize("kind", ["../../etc", "anything"])
def test_what_is_no_kind_of_thing_is_no_request(rig: Rig, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    assert rig.run(asked("a", kind), "succeed").status == Status.SUCCEEDED
    assert kind in caplog.text


def refused(rig: Rig, job_id: str) -> str:
    assert ended(rig, job_id) == Status.FAILED
    assert rig.store.get(job_id).attempt == 1, "another would do the same"
    error = rig.store.get(job_id).error
    assert error is not None
    assert error.code == "protocol_violation"
    return error.message


@pytest.mark.parametrize("acts", [("made:a",), ("want:a", "made:b"), ("want:a", "fill:weights", "made:a", "made:a")])
def test_what_it_was_not_told_to_make_ends_the_job(rig: Rig, acts: tuple[str, ...]) -> None:
    assert "made what it was not told to make" in refused(rig, rig.run(*acts, "succeed").id)


def test_one_that_does_not_wait_for_its_answer_ends_the_job(rig: Rig, other: Rig, tmp_path: Path) -> None:
    maker = start_making(rig, tmp_path, "fill:weights", "made:a", "succeed")
    job_id = other.run(asked("a"), *(asked(letter) for letter in "bc"), "linger").id
    assert "before it was answered" in refused(other, job_id)
    (tmp_path / "go").touch()
    assert ended(rig, maker) == Status.SUCCEEDED


def test_one_that_asks_without_end_ends_the_job(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.supervision.cache_server.MAX_REQUESTS", 3)
    assert "more than 3 times" in refused(rig, rig.run(*(f"want:{letter}" for letter in "abcd"), "succeed").id)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A folder that no runner may read."""
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "thing").write_text("secret")
    return folder


def found(rig: Rig, text: str) -> list[Path]:
    """Files of the worker's cache and of the artifact store with that text."""
    roots = (rig.settings.scratch_root / "cache", rig.settings.data_dir / "artifacts")
    files = (path for root in roots for path in root.rglob("*") if path.is_file())
    return [path for path in files if text in path.read_text()]


def test_a_link_in_the_place_of_what_was_made_is_not_kept(rig: Rig, other: Rig, host: Path) -> None:
    first = rig.run("want:a", f"plant:made/{'a' * 64}={host}", "made:a", "succeed")
    second = other.run("want:a", "fill:again", "made:a", "succeed")

    assert (first.status, second.status) == (Status.SUCCEEDED, Status.SUCCEEDED)
    assert logs(other, second.id) == ["make:[]", "made:again"]
    assert found(rig, "secret") == []
    assert not any(path.is_symlink() for path in (rig.settings.scratch_root / "cache").rglob("*"))


def test_a_link_where_it_should_be_made_is_not_given_to_the_runner(rig: Rig, host: Path) -> None:
    job = rig.run(f"plant:made/{'a' * 64}={host}", "want:a", "succeed")
    assert "in the place of a folder" in refused(rig, job.id)
    assert (host / "thing").read_text() == "secret"


def test_what_is_kept_its_maker_cannot_change(rig: Rig) -> None:
    job = rig.run("want:a", "fill:weights", "made:a", f"scribble:made/{'a' * 64}/thing=changed", "succeed")
    assert job.status == Status.SUCCEEDED
    assert len(found(rig, "weights")) == 2
    assert logs(rig, rig.run("want:a", "succeed").id) == ["have:weights:7.0"]


def test_what_is_too_large_for_the_cache_is_not_kept_and_costs_no_job(worker_settings: WorkerSettings) -> None:
    """One thing takes half of it at most, and all of one attempt the whole."""
    rig = Rig(worker_settings.model_copy(update={"cache_bytes": 10}), FAKE_RUNNER, no_inputs)
    try:
        large = rig.run("want:a", "fill:123456", "made:a", "succeed")
        assert large.status == Status.SUCCEEDED
        assert logs(rig, large.id) == ["make:[]", "made:123456"]
        acts = [act for letter in "bcd" for act in (f"want:{letter}", f"fill:{letter * 5}", f"made:{letter}")]
        assert rig.run(*acts, "succeed").status == Status.SUCCEEDED
        assert [bool(found(rig, text)) for text in ("123456", "bbbbb", "ccccc", "ddddd")] == [False, True, True, False]
    finally:
        rig.close()


def test_what_is_too_large_for_its_kind_is_not_kept(rig: Rig, other: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "baseline", Kind(5, ()))
    assert rig.run("want:a", "fill:123456", "made:a", "succeed").status == Status.SUCCEEDED
    job = other.run("want:a", "fill:12345", "made:a", "succeed")
    assert logs(other, job.id) == ["make:[]", "made:12345"]
    assert logs(rig, rig.run("want:a", "succeed").id) == ["have:12345:7.0"]


def test_what_no_reader_would_take_is_not_kept(rig: Rig, other: Rig) -> None:
    first = rig.run("want:a", "fill:bad", "put:trained.json={", "made:a", "succeed")
    assert logs(rig, first.id) == ["make:[]", "made:bad"]
    job = other.run("want:a", "fill:good", "put:trained.json={}", "made:a", "succeed")
    assert logs(other, job.id) == ["make:[]", "made:good"]


def test_what_an_older_worker_has_put_there_unchecked_is_removed(
    rig: Rig, other: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr("workers.supervision.cache_server.check_files", lambda *_: None)
        rig.run("want:a", "fill:bad", "put:trained.json={", "made:a", "succeed")
    job = other.run("want:a", "fill:good", "made:a", "succeed")
    assert logs(other, job.id) == ["make:[]", "made:good"]
    assert logs(other, other.run("want:a", "succeed").id) == ["have:good:7.0"]


def test_a_job_waits_only_so_long_for_one_of_another_tenant(worker_settings: WorkerSettings, tmp_path: Path) -> None:
    settings = worker_settings.model_copy(update={"allow_unconfined": True, "cache_wait_seconds": 0})
    elsewhere = settings.model_copy(update={"scratch_dir": tmp_path / "elsewhere"})
    first, second = (Rig(chosen, FAKE_RUNNER, no_inputs) for chosen in (settings, elsewhere))
    try:
        for tenant in ("team-a", "team-b"):
            TenantStore(first.engine).create(tenant, tenant, Quotas(), shared_baselines=True)
        first.submit("want:a", f"touch:{tmp_path}/making", f"wait:{tmp_path}/go", "succeed", tenant="team-a")
        first.start()
        eventually((tmp_path / "making").exists)

        waiter = second.submit("want:a", "fill:own", "made:a", "succeed", tenant="team-b")
        second.start()
        assert ended(second, waiter) == Status.SUCCEEDED
        assert logs(second, waiter) == [
            "waiting for the baseline that another job is making",
            "waited long enough for the baseline of another job: this job makes its own",
            "make:[]",
            "made:own",
        ]
    finally:
        (tmp_path / "go").touch()
        first.close()
        second.close()


def test_a_runner_that_reads_no_answer_holds_nobody_up(rig: Rig) -> None:
    deaf = RunnerProcess([sys.executable, "-c", "import time; time.sleep(600)"], rig.settings.scratch_root, UNLOCKED)
    try:
        answer = CacheAnswer(folder=Path("/", "x" * 200), made=True)
        answering = threading.Thread(target=lambda: [deaf.answer(answer) for _ in range(1000)], daemon=True)
        answering.start()
        answering.join(20)
        assert not answering.is_alive()
    finally:
        deaf.dispose()
