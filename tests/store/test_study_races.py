"""What users do with a study's jobs while a gateway feeds it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, event

from api_schemas.errors import LayercutError
from api_schemas.jobs import Status
from api_schemas.studies.request import ResumeStudy
from api_schemas.tenants import Quotas
from store.database import open_engine
from store.jobs import JobStore
from store.studies import StudyStore
from store.study_rows import BEGUN
from store.tenants import TenantStore
from tests.support.store_samples import FAILED
from tests.support.study_samples import ACTOR, cells, count_jobs, end_one, feed, new_study, ready, states

#: As long as a statement is given that goes on, or waits for a lock.
A_MOMENT = 0.5


@pytest.fixture
def studies(engine: Engine) -> StudyStore:
    return StudyStore(engine).of(ACTOR)


def limited(engine: Engine) -> None:
    TenantStore(engine).change("default", **Quotas(queued_jobs=1000).model_dump())


def test_a_job_is_asked_for_again_while_its_study_is_fed(
    database_url: str, engine: Engine, studies: StudyStore, store: JobStore
) -> None:
    """Both want the job and the tenant's quota: in one order, or PostgreSQL ends one of them."""
    limited(engine)
    study = studies.create(new_study(*cells(2))).id
    feed(studies, study)
    first, second = (str(cell.job_id) for cell in studies.get(study).cells)
    studies.cancel(study)
    store.delete(first)
    studies.resume(study, ResumeStudy())
    other = open_engine(database_url)
    began, ended = threading.Event(), []

    def retry() -> None:
        try:
            ended.append(JobStore(other).retry(second))
        except Exception as error:  # noqa: BLE001 - is looked at below
            ended.append(error)

    user = threading.Thread(target=retry)

    def meet(_connection: object, _cursor: object, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO jobs") and not began.is_set():
            began.set()
            user.start()
            user.join(A_MOMENT)

    event.listen(engine, "before_cursor_execute", meet)
    assert feed(studies, study).jobs == 2
    user.join(20)
    other.dispose()
    (found,) = ended
    assert not isinstance(found, Exception), found
    assert states(studies, study) == ["queued", "queued"]
    assert store.get(second).status is Status.QUEUED


@pytest.mark.parametrize("deleting", [False, True])
def test_cancelling_deleting_and_adding_while_gateways_feed(
    database_url: str, engine: Engine, studies: StudyStore, deleting: bool
) -> None:
    """Whatever comes first: no cell has two jobs, no job is of no cell, and nobody is refused by the database."""
    limited(engine)
    study = studies.create(new_study(*cells(40))).id
    began = threading.Barrier(6)

    def acting(act: Callable[[StudyStore], object]) -> None:
        own = open_engine(database_url)
        theirs = StudyStore(own).of(ACTOR)
        began.wait(10)
        for _ in range(8):
            try:
                act(theirs)
            except LayercutError as refused:
                assert refused.code in ("study_ended", "study_not_ended", "study_not_found"), refused  # noqa: PT017
        own.dispose()

    def feeds(theirs: StudyStore) -> object:
        return feed(theirs, study, most=5)

    acts = (
        feeds, feeds, feeds,
        lambda theirs: theirs.add(study, new_study(*cells(60))),
        lambda theirs: (theirs.cancel(study), theirs.resume(study, ResumeStudy())),
        (lambda theirs: theirs.delete(study)) if deleting else feeds,
    )  # fmt: skip
    with ThreadPoolExecutor(len(acts)) as pool:
        for done in [pool.submit(acting, act) for act in acts]:
            done.result(60)
    with engine.connect() as connection:
        if connection.exec_driver_sql("SELECT count(*) FROM studies").scalar() == 0:
            assert deleting
            return
        rows = connection.exec_driver_sql("SELECT state, job_id FROM study_cells").all()
    assert len(rows) == 60
    begun = [row.job_id for row in rows if row.job_id]
    assert len(set(begun)) == len(begun) == count_jobs(engine)
    assert all(row.job_id for row in rows if row.state == BEGUN)


def test_a_job_that_failed_for_two_cells_is_tried_again_once(studies: StudyStore, store: JobStore) -> None:
    study = studies.create(new_study(*cells(2))).id
    feed(studies, study, c0="f" * 64, c1="f" * 64)
    end_one(store, FAILED, artifact=None)
    assert states(studies, study) == ["failed", "failed"]
    studies.resume(study, ResumeStudy(retry_failed=True))
    feed(studies, study, c0="f" * 64, c1="f" * 64)
    end_one(store, FAILED, artifact=None)
    feed(studies, study, c0="f" * 64, c1="f" * 64)
    assert states(studies, study) == ["failed", "failed"], "it was asked for once"


def test_a_batch_that_was_read_before_its_cell_had_a_job_gives_it_no_second(
    studies: StudyStore, engine: Engine
) -> None:
    study = studies.create(new_study(*cells(1))).id
    late = [ready(study, cell) for cell in studies.next_cells(study, 1)]
    feed(studies, study)
    (first,) = studies.get(study).cells
    studies.cancel(study)
    studies.resume(study, ResumeStudy())
    assert studies.begin(study, late, 10).jobs == 1
    (again,) = studies.get(study).cells
    assert again.job_id == first.job_id
    assert count_jobs(engine) == 1
