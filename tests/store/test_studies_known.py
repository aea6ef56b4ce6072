"""Cells that share a job, and jobs of which it is known what they have read."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from api_schemas.errors import LayercutError
from api_schemas.studies.request import ResumeStudy
from store.jobs import JobStore
from store.studies import StudyStore
from store.tables import jobs
from tests.support.store_samples import FAILED
from tests.support.study_samples import ACTOR, cells, count_jobs, end_one, feed, new_study, states

SAME = "f" * 64


@pytest.fixture
def studies(engine: Engine) -> StudyStore:
    return StudyStore(engine).of(ACTOR)


def test_a_shared_job_that_was_deleted_is_made_once(studies: StudyStore, store: JobStore, engine: Engine) -> None:
    study = studies.create(new_study(*cells(2))).id
    assert feed(studies, study, c0=SAME, c1=SAME).jobs == 1
    store.delete(end_one(store, FAILED, None))
    studies.finish(study)
    studies.resume(study, ResumeStudy())
    assert feed(studies, study, c0=SAME, c1=SAME).jobs == 1
    assert count_jobs(engine) == 1


def test_a_shared_job_that_is_asked_for_again_counts_once(studies: StudyStore, store: JobStore) -> None:
    study = studies.create(new_study(*cells(2))).id
    feed(studies, study, c0=SAME, c1=SAME)
    end_one(store, FAILED, None)
    studies.resume(study, ResumeStudy(retry_failed=True))
    assert feed(studies, study, c0=SAME, c1=SAME).jobs == 1
    rows = studies.get(study)
    assert rows.begun == 2
    assert [cell.known for cell in rows.cells] == [False, True]


def test_what_has_changed_since_it_was_hashed_is_not_known(
    studies: StudyStore, store: JobStore, engine: Engine, tmp_path: Path
) -> None:
    feed(studies, studies.create(new_study(*cells(1))).id, c0=SAME)
    done = end_one(store)
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    found = os.stat(file)
    state = [str(file), found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
    with engine.begin() as connection:
        connection.execute(update(jobs).values(inputs=[state]))
    assert studies.known([SAME]) == {SAME: done}
    file.write_bytes(b"two")
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert studies.known([SAME]) == {}


def test_a_study_is_not_deleted_with_jobs_of_others(studies: StudyStore, store: JobStore, engine: Engine) -> None:
    first = studies.create(new_study(*cells(1))).id
    feed(studies, first, c0=SAME)
    done = end_one(store)
    second = studies.create(new_study(*cells(1))).id
    feed(studies, second, c0=SAME)
    studies.finish(first)
    studies.delete(first, with_jobs=True)
    assert studies.get(second).cells[0].job_id == done
    assert states(studies, second) == ["succeeded"]


def test_a_study_is_not_deleted_while_a_job_of_its_own_runs(studies: StudyStore, store: JobStore) -> None:
    study = studies.create(new_study(*cells(1))).id
    feed(studies, study)
    assert store.claim("worker-1") is not None
    studies.cancel(study)
    studies.resume(study, ResumeStudy())  # the cell waits for the job that is being cancelled
    studies.cancel(study)
    with pytest.raises(LayercutError) as refused:
        studies.delete(study, with_jobs=True)
    assert refused.value.code == "study_not_ended"


def test_files_that_are_gone_are_made_anew_on_request(studies: StudyStore, store: JobStore, engine: Engine) -> None:
    study = studies.create(new_study(*cells(1))).id
    feed(studies, study)
    done = end_one(store)
    assert studies.get(study).cells[0].has_files
    with engine.begin() as connection:
        connection.execute(update(jobs).values(expired_at=jobs.c.created_at))
    studies.finish(study)
    assert not studies.get(study).cells[0].has_files
    studies.resume(study, ResumeStudy(without_files=True))
    assert feed(studies, study).jobs == 1
    assert studies.get(study).cells[0].job_id != done


def test_what_was_done_meanwhile_costs_no_budget(studies: StudyStore, store: JobStore, engine: Engine) -> None:
    first, second = cells(2)
    study = studies.create(new_study(first, replace(second, fingerprint=SAME), jobs=1)).id
    assert feed(studies, study, c0="a" * 64, c1=SAME).jobs == 1
    end_one(store)
    other = studies.create(new_study(*cells(1))).id
    feed(studies, other, c0=SAME)
    end_one(store)
    assert states(studies, study) == ["succeeded", "waiting"]
    assert studies.link_known(study) == 1
    assert states(studies, study) == ["succeeded", "succeeded"]
