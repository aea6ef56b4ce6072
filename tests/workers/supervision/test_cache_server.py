"""What the supervisor answers when its runner asks the cache: two workers with a cache each, on one store."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_schemas.events import EventType
from api_schemas.jobs import Status
from tests.support.processes import eventually
from tests.support.supervisor_rig import FAKE_RUNNER, Rig, no_inputs
from workers.settings import WorkerSettings


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


def test_what_was_evicted_for_all_is_given_back_by_a_host_that_has_it(rig: Rig, other: Rig) -> None:
    rig.run("want:a", "fill:weights", "made:a", "succeed")
    (prefix,) = rig.cache.evict(0)
    rig.artifacts.delete(prefix)
    assert logs(rig, rig.run("want:a", "succeed").id) == ["have:weights:7.0"]
    assert logs(other, other.run("want:a", "succeed").id) == ["have:weights:7.0"]


def test_names_that_lead_elsewhere_are_no_request(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    forged = '{"cache":"want","kind":"../../etc","fingerprint":"' + "a" * 64 + '"}'
    assert rig.run(f"say:{forged}", "succeed").status == Status.SUCCEEDED
    assert "../../etc" in caplog.text
