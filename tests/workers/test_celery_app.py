"""A real Celery worker on a folder, and all that can happen to the two of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_schemas.events import EventType
from api_schemas.jobs import Status
from store.broker import QUEUE
from store.workers import WorkerStore
from tests.support import worker_process
from tests.support.no_wake_ups import NO_WAKE_UPS
from tests.support.processes import eventually, gone
from tests.support.worker_process import Site, site


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, lease_seconds=4) as made:
        yield made


def delete_broker(here: Site) -> None:
    """What a user would do; the worker makes the folder again while it is being removed."""
    shutil.rmtree(here.folder / "broker", ignore_errors=True)


def test_a_wake_up_runs_a_job_and_is_passed_on_while_more_wait(here: Site) -> None:
    jobs = [here.submit("succeed", wake=False) for _ in range(3)]
    here.start_worker()
    assert [here.ended(job_id).status for job_id in jobs] == [Status.SUCCEEDED] * 3


def test_five_wake_ups_for_one_job_make_one_run(here: Site) -> None:
    worker = here.start_worker()
    job_id = here.submit("succeed")
    for _ in range(4):
        here.wake()
    here.ended(job_id)
    last = here.submit("succeed")
    here.ended(last)

    started = [event for event in here.store.events(job_id)[0] if event.type == EventType.STARTED]
    assert len(started) == 1
    assert worker.process.poll() is None


def test_the_folder_of_the_broker_may_be_deleted_at_any_time(here: Site, tmp_path: Path) -> None:
    worker = here.start_worker()
    delete_broker(here)
    job_id = here.submit(f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "succeed")
    here.running(job_id, tmp_path / "here")
    delete_broker(here)
    (tmp_path / "go").touch()

    assert here.ended(job_id).status == Status.SUCCEEDED
    assert here.ended(here.submit("succeed")).status == Status.SUCCEEDED
    assert worker.process.poll() is None


@pytest.mark.slow
def test_sigterm_hands_the_job_back_and_the_next_worker_needs_no_new_wake_up(here: Site, tmp_path: Path) -> None:
    first = here.start_worker()
    job_id = here.submit(f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "succeed")
    here.running(job_id, tmp_path / "here")
    assert first.stop() == 0

    job = here.store.get(job_id)
    assert job.status == Status.QUEUED
    assert "handed the job back" in (job.status_reason or "")
    (tmp_path / "go").touch()
    here.start_worker()
    assert here.ended(job_id).status == Status.SUCCEEDED
    assert len(here.artifacts(job_id)) == 1


@pytest.mark.slow
def test_kill_9_of_the_worker_leaves_no_runner_no_files_and_no_second_result(here: Site, tmp_path: Path) -> None:
    worker = here.start_worker()
    job_id = here.submit(f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "succeed")
    here.running(job_id, tmp_path / "here")
    runner = worker.runner
    assert runner is not None
    worker.process.kill()
    worker.process.wait()
    eventually(lambda: gone(runner.pid))

    eventually(lambda: here.store.reap().requeued == [job_id])
    (tmp_path / "go").touch()
    here.start_worker()
    job = here.ended(job_id)
    assert (job.status, job.attempt) == (Status.SUCCEEDED, 2)
    assert len(here.artifacts(job_id)) == 1
    # What the killed worker left is gone; the one folder is that of the runner which waits now.
    eventually(lambda: len(list((tmp_path / "scratch").iterdir())) == 1)


@pytest.mark.chaos
def test_a_stopped_runner_of_a_killed_worker_ends_when_the_next_one_starts(here: Site, tmp_path: Path) -> None:
    worker = here.start_worker()
    job_id = here.submit(f"child:{tmp_path}/child", f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "succeed")
    here.running(job_id, tmp_path / "here")
    runner = worker.runner
    assert runner is not None
    runner.send_signal(signal.SIGSTOP)
    worker.process.kill()
    worker.process.wait()
    here.start_worker()
    eventually(lambda: gone(runner.pid) and gone(int((tmp_path / "child").read_text())))
    eventually(lambda: len(list((tmp_path / "scratch").iterdir())) == 1)


def test_kill_9_of_the_waiting_runner_costs_no_attempt(here: Site) -> None:
    worker = here.start_worker()
    runner = worker.runner
    assert runner is not None
    runner.kill()
    eventually(lambda: gone(runner.pid))
    job = here.ended(here.submit("succeed"))
    assert (job.status, job.attempt) == (Status.SUCCEEDED, 1)


def test_what_is_no_wake_up_is_dropped_and_ends_no_worker(here: Site) -> None:
    worker = here.start_worker()
    messages = here.folder / "broker" / "messages"
    for number, content in enumerate(NO_WAKE_UPS):
        (messages / f"{number:020}_bad.{QUEUE}.msg").write_bytes(content)
    (messages / f"{98:020}_folder.{QUEUE}.msg").mkdir()
    (messages / f"{98:020}_folder.{QUEUE}.msg" / "inside").touch()
    os.mkfifo(messages / f"{99:020}_pipe.{QUEUE}.msg")
    assert here.ended(here.submit("succeed")).status == Status.SUCCEEDED

    eventually(lambda: not list(messages.iterdir()))
    log = worker.log.read_text()
    assert log.count("is no wake-up, and is dropped") == len(NO_WAKE_UPS) + 2
    assert "nobody listens" not in log
    assert worker.process.poll() is None


@pytest.mark.slow
def test_checkpoints_of_a_deleted_job_leave_a_worker_without_work_and_without_room(here: Site) -> None:
    first = here.start_worker()
    job_id = here.submit("checkpoint:baseline-1-000000010", "fail:training_diverged")
    assert here.ended(job_id).status == Status.FAILED
    assert first.stop() == 0
    kept = here.folder / "checkpoints" / job_id
    here.start_worker(poll_seconds=0.2, min_free_bytes=2**62)
    assert kept.is_dir()

    here.store.delete(job_id)
    eventually(lambda: not kept.exists())


@pytest.mark.chaos
def test_what_ends_celery_ends_no_worker(here: Site) -> None:
    worker = here.start_worker(poll_seconds=0.2)
    delete_broker(here)
    messages = here.folder / "broker"
    eventually(lambda: in_the_way(messages))
    eventually(lambda: "nobody listens to the broker any more" in worker.log.read_text())
    assert here.ended(here.submit("succeed", wake=False)).status == Status.SUCCEEDED
    messages.unlink()
    ready = worker.log.read_text().count(" ready.")
    eventually(lambda: worker.log.read_text().count(" ready.") > ready)
    assert worker.stop() == 0


def in_the_way(folder: Path) -> bool:
    """A file in the place of the folder; the worker makes that again and again."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.write_text("in the way")
    except IsADirectoryError:
        return False
    return True


@pytest.mark.chaos
def test_a_worker_that_slept_through_its_lease_is_refused_when_it_wakes(here: Site, tmp_path: Path) -> None:
    sleeper = here.start_worker()
    job_id = here.submit(f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "succeed")
    here.running(job_id, tmp_path / "here")
    runner = sleeper.runner
    assert runner is not None
    here.stop_between_writes(sleeper)
    eventually(lambda: here.store.reap().requeued == [job_id])
    here.start_worker()
    eventually(lambda: here.store.get(job_id).attempt == 2)
    sleeper.process.send_signal(signal.SIGCONT)
    eventually(lambda: gone(runner.pid))
    (tmp_path / "go").touch()

    job = here.ended(job_id)
    assert (job.status, job.attempt) == (Status.SUCCEEDED, 2)
    assert len(here.artifacts(job_id)) == 1
    assert sleeper.stop() == 0


#: A worker whose Celery begins once a file is there.
LATE = """
import pathlib, runpy, time
from workers import celery_app
listen = celery_app._listen
def late(*given):
    while not pathlib.Path({go!r}).exists():
        time.sleep(0.02)
    return listen(*given)
celery_app._listen = late
runpy.run_path({launcher!r}, run_name="__main__")
"""


@pytest.mark.chaos
def test_sigterm_before_anybody_listens_hands_the_job_back_too(
    here: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = tmp_path / "late.py"
    late.write_text(LATE.format(go=str(tmp_path / "listen"), launcher=str(worker_process.LAUNCHER)))
    monkeypatch.setattr(worker_process, "LAUNCHER", late)
    job_id = here.submit(f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "succeed", wake=False)
    worker = here.start_worker(connected=False)
    here.running(job_id, tmp_path / "here")
    worker.process.send_signal(signal.SIGTERM)
    eventually(lambda: here.store.get(job_id).status == Status.QUEUED)
    assert "handed the job back" in (here.store.get(job_id).status_reason or "")
    (tmp_path / "listen").touch()
    assert worker.process.wait(30) == 0


@pytest.mark.chaos
def test_a_worker_that_slept_for_a_while_hears_first_what_its_runner_told_meanwhile(here: Site, tmp_path: Path) -> None:
    worker = here.start_worker(no_progress_seconds=2, lease_seconds=60)
    job_id = here.submit(f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "stage:recovering", "succeed")
    here.running(job_id, tmp_path / "here")
    worker.process.send_signal(signal.SIGSTOP)
    (tmp_path / "go").touch()
    time.sleep(4)  # its sleep is what is tried
    worker.process.send_signal(signal.SIGCONT)
    job = here.ended(job_id)
    assert (job.status, job.attempt) == (Status.SUCCEEDED, 1)


@pytest.mark.slow
def test_a_worker_that_is_to_leave_when_idle_does_all_jobs_first(here: Site, tmp_path: Path) -> None:
    jobs = [here.submit(f"wait:{tmp_path}/go", "succeed", wake=False) for _ in range(2)]
    worker = here.start_worker(poll_seconds=0.1, idle_exit_seconds=0.5)
    eventually(lambda: here.store.get(jobs[0]).status == Status.RUNNING)
    # So long as it has one it is not idle, however long that takes.
    with pytest.raises(subprocess.TimeoutExpired):
        worker.process.wait(1.5)
    (tmp_path / "go").touch()

    assert worker.process.wait(30) == 0
    assert [here.store.get(job_id).status for job_id in jobs] == [Status.SUCCEEDED] * 2
    assert "this worker leaves" in worker.log.read_text()
    assert WorkerStore(here.engine).living(60) == []
