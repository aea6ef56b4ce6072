"""Somebody, or a cleaner of temporary files, deletes what a worker works in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from api_schemas.jobs import Status
from tests.support.processes import eventually
from tests.support.supervisor_rig import Rig
from workers.removal import remove_tree
from workers.supervision.waiting import SCRATCH_GONE


@pytest.mark.parametrize("part", ["", "inputs", "notes"])
def test_a_runner_that_waits_in_a_deleted_folder_gets_no_job(rig: Rig, part: str) -> None:
    rig.supervisor.prepare()
    waiting = rig.waiting_folder
    assert waiting is not None
    shutil.rmtree(waiting / part)
    job = rig.run("succeed")

    assert (job.status, job.attempt) == (Status.SUCCEEDED, 1)
    assert rig.scratch() == []


def test_a_folder_that_was_made_again_is_not_the_one_that_the_runner_can_read(rig: Rig) -> None:
    rig.supervisor.prepare()
    waiting = rig.waiting_folder
    assert waiting is not None
    shutil.rmtree(waiting / "inputs")
    (waiting / "other").mkdir()  # takes the number that the file system has just got back
    (waiting / "inputs").mkdir()
    rig.supervisor.prepare()

    assert rig.waiting_folder != waiting


def test_an_attempt_whose_folder_is_deleted_is_lost_at_once(rig: Rig, tmp_path: Path) -> None:
    job_id = rig.submit(f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "succeed")
    thread = rig.start()
    eventually((tmp_path / "here").exists)
    (folder,) = rig.settings.scratch_root.glob("runner-*")
    shutil.rmtree(folder)
    thread.join(20)

    job = rig.store.get(job_id)
    assert job.status == Status.QUEUED
    assert SCRATCH_GONE in (job.status_reason or "")
    (tmp_path / "go").touch()
    assert rig.supervisor.work()
    assert rig.store.get(job_id).status == Status.SUCCEEDED


@pytest.mark.parametrize("part", ["job.json", "inputs"])
def test_a_failure_for_want_of_what_was_deleted_is_not_the_jobs(rig: Rig, tmp_path: Path, part: str) -> None:
    """A cleaner deletes what is in a folder first, and the runner may meet that before anybody sees the folder gone."""
    job_id = rig.submit(f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "fail:malformed_request")
    thread = rig.start()
    eventually((tmp_path / "here").exists)
    (folder,) = rig.settings.scratch_root.glob("runner-*")
    assert remove_tree(folder / part)
    (tmp_path / "go").touch()
    thread.join(20)

    job = rig.store.get(job_id)
    assert job.status == Status.QUEUED
    assert SCRATCH_GONE in (job.status_reason or "")


def test_all_folders_of_its_own_are_made_again(rig: Rig) -> None:
    """Not the store's: one that is not there may be a disk that is away."""
    rig.run("want:a", "fill:weights", "made:a", "checkpoint:baseline-1-000000010", "learn:x=1", "succeed")
    for path in rig.settings.data_dir.iterdir():
        if path.is_dir() and path.name != "artifacts":
            shutil.rmtree(path)

    again = ("want:b", "fill:weights", "made:b", "checkpoint:baseline-1-000000010", "learn:x=1", "succeed")
    job = rig.run(*again)
    assert (job.status, job.attempt) == (Status.SUCCEEDED, 1)
    prefix = rig.store.artifact(job.id)
    assert prefix is not None
    assert rig.artifacts.manifest(prefix).files
