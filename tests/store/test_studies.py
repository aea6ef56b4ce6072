"""Studies in the store: fed a window at a time, by many gateways, and no cell twice."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from sqlalchemy import Engine, update

from api_schemas.errors import LayercutError
from api_schemas.events import EventType
from api_schemas.jobs import Status
from api_schemas.studies.request import Budget, ResumeStudy
from api_schemas.studies.shown import CellState, StudyStatus
from api_schemas.tenants import Quotas
from store import study_feeding as store_feeding
from store.audit import Actor, AuditLog
from store.columns import later
from store.database import open_engine
from store.jobs import JobStore
from store.listing import JobFilter
from store.studies import StudyStore
from store.study_rows import StudyRows
from store.study_tables import studies as study_table
from store.tables import jobs
from store.tenants import TenantStore
from tests.support.events import say
from tests.support.store_samples import FAILED
from tests.support.study_samples import ACTOR, cells, count_jobs, end_one, feed, new_study, ready, states


@pytest.fixture
def studies(engine: Engine) -> StudyStore:
    return StudyStore(engine).of(ACTOR)


def test_cells_become_jobs_a_window_at_a_time(studies: StudyStore, store: JobStore) -> None:
    study = studies.create(new_study(*cells(7))).id
    assert feed(studies, study, window=3).jobs == 3
    assert feed(studies, study, window=3).jobs == 0
    assert states(studies, study) == ["queued"] * 3 + ["waiting"] * 4
    end_one(store)
    assert feed(studies, study, window=3).jobs == 1
    rows = studies.get(study)
    assert rows.begun == 4
    jobs_of_it, _ = store.list(JobFilter(study=study))
    assert sorted(job.id for job in jobs_of_it) == sorted(cell.job_id for cell in rows.cells if cell.job_id)


def test_many_gateways_queue_each_cell_once(database_url: str, studies: StudyStore, engine: Engine) -> None:
    study = studies.create(new_study(*cells(60))).id
    began = threading.Barrier(4)

    def gateway() -> None:
        own = open_engine(database_url)
        theirs = StudyStore(own).of(ACTOR)
        began.wait(10)
        while theirs.next_cells(study, 1):
            feed(theirs, study, most=7)
        own.dispose()

    threads = [threading.Thread(target=gateway) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert states(studies, study) == ["queued"] * 60
    assert count_jobs(engine) == 60
    assert len({cell.job_id for cell in studies.get(study).cells}) == 60
    assert studies.get(study).begun == 60


def test_a_batch_that_was_read_before_another_gateway_queued_it_queues_nothing(
    studies: StudyStore, engine: Engine
) -> None:
    study = studies.create(new_study(*cells(5))).id
    late = [ready(study, cell) for cell in studies.next_cells(study, 5)]
    assert feed(studies, study).jobs == 5
    assert studies.begin(study, late, 100).jobs == 0
    assert count_jobs(engine) == 5


def test_feeding_that_was_killed_between_batches_goes_on_elsewhere(
    studies: StudyStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = studies.create(new_study(*cells(6))).id
    assert feed(studies, study, most=2).jobs == 2
    made: list[int] = []
    create = store_feeding.create

    def killed(*given: object) -> str:
        made.append(1)
        if len(made) == 2:
            raise KeyboardInterrupt
        return create(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(store_feeding, "create", killed)
    with pytest.raises(KeyboardInterrupt):
        feed(studies, study, most=3)
    monkeypatch.undo()
    assert states(studies, study) == ["queued"] * 2 + ["waiting"] * 4
    assert count_jobs(engine) == 2
    other = StudyStore(engine)
    assert feed(other, study).jobs == 4
    assert states(studies, study) == ["queued"] * 6


def test_two_cells_that_are_alike_share_one_job(studies: StudyStore, store: JobStore, engine: Engine) -> None:
    study = studies.create(new_study(*cells(3))).id
    assert feed(studies, study, c0="f" * 64, c2="f" * 64).jobs == 2
    first, _, third = studies.get(study).cells
    assert first.job_id == third.job_id
    assert (first.known, third.known) == (False, True)
    end_one(store)
    assert [cell.state for cell in studies.get(study).cells].count(CellState.SUCCEEDED) == 2


def test_what_an_earlier_study_has_done_is_not_done_again(studies: StudyStore, store: JobStore, engine: Engine) -> None:
    first = studies.create(new_study(*cells(1))).id
    feed(studies, first, c0="a" * 64)
    assert studies.known(["a" * 64]) == {}
    done = end_one(store)
    assert studies.known(["a" * 64, "b" * 64]) == {"a" * 64: done}
    second = studies.create(new_study(*cells(1))).id
    assert feed(studies, second, c0="a" * 64).jobs == 0
    (cell,) = studies.get(second).cells
    assert (cell.job_id, cell.known, cell.state) == (done, True, CellState.SUCCEEDED)
    assert StudyStore(engine).of(Actor("other")).known(["a" * 64]) == {}
    with engine.begin() as connection:
        connection.execute(update(jobs).values(expired_at=jobs.c.created_at))
    assert studies.known(["a" * 64]) == {}


def test_a_quota_that_is_full_is_waited_for(studies: StudyStore, store: JobStore, engine: Engine) -> None:
    TenantStore(engine).change("default", queued_jobs=2)
    study = studies.create(new_study(*cells(5))).id
    fed = feed(studies, study)
    assert (fed.jobs, fed.more) == (2, False)
    assert states(studies, study) == ["queued"] * 2 + ["waiting"] * 3
    end_one(store)
    assert feed(studies, study).jobs == 1
    TenantStore(engine).change("default", **dict.fromkeys(Quotas.model_fields))
    assert feed(studies, study).jobs == 2


def test_a_study_ends_when_all_its_cells_have(studies: StudyStore, store: JobStore) -> None:
    study = studies.create(new_study(*cells(2))).id
    feed(studies, study)
    end_one(store)
    assert not studies.finish(study)
    end_one(store, FAILED, None)
    assert studies.running() == [study]
    assert studies.finish(study)
    assert studies.running() == []
    rows = studies.get(study)
    assert rows.status is StudyStatus.FINISHED
    assert [cell.reason for cell in rows.cells] == [None, "no memory"]


def test_a_budget_of_jobs_lets_those_run_that_were_paid(studies: StudyStore, store: JobStore) -> None:
    study = studies.create(new_study(*cells(4), jobs=2)).id
    assert feed(studies, study).jobs == 2
    standing = studies.standing(study)
    assert standing is not None
    assert standing.spent is not None
    assert studies.pause(study, standing.spent)
    assert states(studies, study) == ["queued"] * 2 + ["unpaid"] * 2
    end_one(store)
    rows = studies.get(study)
    assert (rows.status, rows.status_reason) == (StudyStatus.PAUSED, "the budget of 2 jobs is used up")
    studies.resume(study, ResumeStudy())
    assert feed(studies, study).jobs == 2
    assert states(studies, study) == ["succeeded"] + ["queued"] * 3


def test_minutes_that_are_used_up_take_back_what_is_queued(
    studies: StudyStore, store: JobStore, engine: Engine
) -> None:
    study = studies.create(new_study(*cells(3), minutes=1)).id
    feed(studies, study, most=2)
    claim = store.claim("worker-1")
    assert claim is not None
    with engine.begin() as connection:
        connection.execute(update(study_table).values(began_at=later(-120)))
    standing = studies.standing(study)
    assert standing is not None
    assert studies.pause(study, standing.spent or "")
    assert states(studies, study) == ["running", "unpaid", "unpaid"]
    assert studies.get(study).begun == 1
    taken_back = [job for job in store.list()[0] if job.status is Status.CANCELLED]
    assert len(taken_back) == 1
    studies.resume(study, ResumeStudy(budget=Budget(minutes=5)))
    assert feed(studies, study).jobs == 2
    assert states(studies, study) == ["running", "queued", "queued"]
    # The cell has the job again that it had.
    assert studies.get(study).cells[1].job_id == taken_back[0].id
    assert count_jobs(engine) == 3


def test_gpu_hours_are_those_of_gpus(studies: StudyStore, store: JobStore, engine: Engine) -> None:
    study = studies.create(new_study(*cells(3), gpu_hours=0.5)).id
    feed(studies, study, most=2)

    def spent(device: str) -> str:
        claim = store.claim("worker-1")
        assert claim is not None
        mine = update(jobs).where(jobs.c.id == claim.lease.job_id)
        with engine.begin() as connection:
            connection.execute(mine.values(resolved={"device": device}, started_at=later(-3600)))
        runs = studies.standing(study).spent or ""  # type: ignore[union-attr]
        store.finish(claim.lease, FAILED)
        return runs

    assert spent("cpu") == ""
    assert studies.standing(study).spent is None  # type: ignore[union-attr]
    assert "GPU-hours" in spent("cuda")  # while it runs, and though it failed then
    assert "GPU-hours" in (studies.standing(study).spent or "")  # type: ignore[union-attr]


def test_what_is_cancelled_goes_on_with_the_same_jobs(studies: StudyStore, store: JobStore, engine: Engine) -> None:
    study = studies.create(new_study(*cells(4))).id
    feed(studies, study, most=3)
    end_one(store)
    studies.cancel(study)
    assert states(studies, study) == ["succeeded", "cancelled", "cancelled", "cancelled"]
    again = studies.cancel(study)
    assert again.status is StudyStatus.CANCELLED
    assert [line.action for line in AuditLog(engine).page("default")[0]].count("study.cancel") == 1
    studies.resume(study, ResumeStudy())
    assert feed(studies, study).jobs == 3
    assert states(studies, study) == ["succeeded", "queued", "queued", "queued"]
    assert count_jobs(engine) == 4


def test_known_jobs_outlive_the_cancelling_of_a_study(studies: StudyStore, store: JobStore) -> None:
    first = studies.create(new_study(*cells(1))).id
    feed(studies, first, c0="a" * 64)
    done = end_one(store)
    second = studies.create(new_study(*cells(2))).id
    feed(studies, second, c0="a" * 64)
    studies.cancel(second)
    assert store.get(done).status is Status.SUCCEEDED
    studies.delete(second, with_jobs=True)
    assert store.get(done).status is Status.SUCCEEDED


def test_what_failed_is_tried_again_on_request_alone(studies: StudyStore, store: JobStore) -> None:
    study = studies.create(new_study(*cells(1))).id
    feed(studies, study)
    failed = end_one(store, FAILED, None)
    studies.finish(study)
    with pytest.raises(LayercutError) as refused:
        studies.resume(study, ResumeStudy())
    assert refused.value.code == "study_ended"
    studies.resume(study, ResumeStudy(retry_failed=True))
    assert feed(studies, study).jobs == 1
    assert studies.get(study).cells[0].job_id == failed


def test_a_job_that_is_asked_for_again_by_itself_shows_in_its_study(studies: StudyStore, store: JobStore) -> None:
    study = studies.create(new_study(*cells(1))).id
    feed(studies, study)
    store.retry(end_one(store, FAILED, None))
    assert states(studies, study) == ["queued"]


def test_a_cell_whose_job_was_deleted_says_so(studies: StudyStore, store: JobStore) -> None:
    study = studies.create(new_study(*cells(2))).id
    feed(studies, study)
    store.delete(end_one(store))
    (gone, other) = studies.get(study).cells
    assert (gone.state, gone.job_id) == (CellState.CANCELLED, None)
    assert "deleted" in (gone.reason or "")
    assert other.state is CellState.QUEUED


def test_cells_that_a_study_has_are_not_added_again(studies: StudyStore, store: JobStore) -> None:
    study = studies.create(new_study(*cells(2))).id
    feed(studies, study)
    end_one(store)
    end_one(store)
    studies.finish(study)
    with pytest.raises(LayercutError) as refused:
        studies.add(study, new_study(*cells(3)), most=2)
    assert refused.value.code == "study_too_large"
    studies.add(study, new_study(*cells(2)), most=2)
    same = studies.get(study)
    assert (len(same.cells), same.status, len(same.grids)) == (2, StudyStatus.FINISHED, 1)
    studies.add(study, new_study(*cells(3)))
    more = studies.get(study)
    assert (len(more.cells), more.status) == (3, StudyStatus.RUNNING)
    assert more.began_at > same.began_at  # no minute has passed while it was finished
    assert more.cells[2].at[0] == 1
    assert feed(studies, study).jobs == 1


def test_a_study_is_deleted_once_nothing_is_open(studies: StudyStore, store: JobStore) -> None:
    study = studies.create(new_study(*cells(2))).id
    feed(studies, study, most=1)
    with pytest.raises(LayercutError) as refused:
        studies.delete(study)
    assert refused.value.code == "study_not_ended"
    studies.cancel(study)
    (job,) = store.list()[0]
    studies.delete(study)
    assert store.get(job.id).study is None
    with pytest.raises(LayercutError, match="there is no study"):
        studies.get(study)


def test_its_jobs_go_with_it_on_request(studies: StudyStore, store: JobStore) -> None:
    study = studies.create(new_study(*cells(2))).id
    feed(studies, study)
    studies.cancel(study)
    studies.delete(study, with_jobs=True)
    assert store.list()[0] == []


def test_another_tenant_sees_nothing(studies: StudyStore, engine: Engine) -> None:
    study = studies.create(new_study(*cells(1))).id
    other = StudyStore(engine).of(Actor("other"))
    for ask in (other.get, other.cancel, other.delete):
        with pytest.raises(LayercutError) as refused:
            ask(study)
        assert refused.value.code == "study_not_found"
    assert other.page() == ([], False)
    assert [rows.id for rows in studies.page()[0]] == [study]


def test_a_list_goes_on_after_a_cursor(studies: StudyStore) -> None:
    made = [studies.create(new_study(*cells(1))).id for _ in range(3)]
    page, has_more = studies.page(limit=2)
    assert ([rows.id for rows in page], has_more) == (made[:0:-1], True)
    page, has_more = studies.page(after=made[1], limit=2)
    assert ([rows.id for rows in page], has_more) == ([made[0]], False)
    with pytest.raises(LayercutError) as refused:
        studies.page(after="x")
    assert refused.value.code == "invalid_cursor"


def test_cells_wait_for_their_pilot(studies: StudyStore, store: JobStore) -> None:
    pilot, *held = cells(3)
    study = studies.create(new_study(pilot, *(replace(cell, pilot=pilot.key) for cell in held))).id
    assert feed(studies, study).jobs == 1
    assert feed(studies, study).jobs == 0
    assert studies.ended_pilots(study) == []
    done = end_one(store)
    (found,) = studies.ended_pilots(study)
    assert (found.job_id, found.artifact, [cell.number for cell in found.held]) == (done, "jobs/x", [1, 2])
    studies.judge(study, found, {2: "it was out"})
    assert feed(studies, study).jobs == 1
    assert states(studies, study) == ["succeeded", "queued", "stopped"]
    assert studies.get(study).cells[2].reason == "it was out"


def test_a_pilot_that_failed_holds_nobody(studies: StudyStore, store: JobStore) -> None:
    pilot, held = cells(2)
    study = studies.create(new_study(pilot, replace(held, pilot=pilot.key))).id
    feed(studies, study)
    end_one(store, FAILED, None)
    (found,) = studies.ended_pilots(study)
    assert found.artifact is None
    studies.judge(study, found, {})
    assert feed(studies, study).jobs == 1


def test_a_list_counts_as_the_study_itself_does(studies: StudyStore, store: JobStore, engine: Engine) -> None:
    study = studies.create(new_study(*cells(5))).id
    feed(studies, study, most=4)
    end_one(store)
    store.delete(end_one(store, FAILED, None))
    claim = store.claim("worker-1")
    assert claim is not None
    store.record(claim.lease, say(EventType.PROGRESS, fraction=0.5))
    with engine.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.status == Status.SUCCEEDED).values(gpu_seconds=3.0))
    ((listed,), _) = studies.page()
    assert total(listed) == total(studies.get(study))
    assert sum(tally.gpu_seconds for tally in listed.tallies) == 3.0


def total(rows: StudyRows) -> dict[tuple[str, bool], list[float]]:
    found: dict[tuple[str, bool], list[float]] = {}
    for state, known, *numbers in rows.tallies:
        sums = found.setdefault((state, known), [0.0] * len(numbers))
        found[state, known] = [one + other for one, other in zip(sums, numbers, strict=True)]
    return found
