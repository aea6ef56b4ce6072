"""What users see: create, get, list, events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, update

from api_schemas.errors import LayercutError
from api_schemas.events import EventType, MetricData
from api_schemas.jobs import Status
from api_schemas.requests import JobRequest
from api_schemas.resolved import resolve
from store.ids import is_job_id
from store.jobs import JobStore
from store.listing import JobFilter
from store.tables import events
from tests.support.events import say
from tests.support.store_samples import Submit

MISSING = "job_000000000000000000000000"


def test_a_new_job_is_shown_as_it_was_sent(store: JobStore) -> None:
    sent = {"task": "sst2", "model": {"id": "acme/bert"}, "prune": {"drop": 2}, "metadata": {"team": "search"}}
    request = JobRequest.model_validate(sent)
    resolved = resolve(request, None)
    job = store.create(request, sent, resolved)

    assert is_job_id(job.id)
    assert job.status == Status.QUEUED
    assert (job.model, job.task, job.attempt, job.metadata) == ("acme/bert", "sst2", 0, {"team": "search"})
    assert job.request == sent
    assert list(job.request) == list(sent), "the order of the keys is the sender's"
    assert job.resolved == resolved
    assert job.progress.queue_position == 1
    assert job.created_at.tzinfo is UTC
    assert abs(job.created_at - datetime.now(UTC)) < timedelta(minutes=5)
    assert store.get(job.id) == job


def test_text_that_databases_dislike_is_stored(store: JobStore, submit: Submit) -> None:
    job = submit(metadata={"a\0b": 'quote " and \\ and %'})
    claim = store.claim("w\0\ud800")
    assert claim is not None
    event = store.record(
        claim.lease,
        say(EventType.METRIC, "nul \0 and half \ud800", name="\0", value=float("nan"), side="after"),
    )
    assert event.data == MetricData(name="\0", value=None, side="after")
    assert "\0" not in event.message
    assert store.get(job.id).metadata == {"a\0b": 'quote " and \\ and %'}
    assert [found.id for found in store.list(JobFilter(metadata={"a\0b": 'quote " and \\ and %'}))[0]] == [job.id]


@pytest.mark.parametrize("call", ["get", "cancel", "events", "artifact"])
def test_an_unknown_job_is_not_found(store: JobStore, call: str) -> None:
    with pytest.raises(LayercutError, match=MISSING) as caught:
        getattr(store, call)(MISSING)
    assert caught.value.code == "job_not_found"


def test_pages_hold_every_job_once_newest_first(store: JobStore, submit: Submit) -> None:
    ids = [submit().id for _ in range(7)]
    seen: list[str] = []
    after, more = None, True
    while more:
        page, more = store.list(after=after, limit=3)
        seen += [job.id for job in page]
        after = page[-1].id
        submit()  # what is added meanwhile belongs to no later page
    assert seen == ids[::-1]


def test_a_page_that_ends_with_the_list_says_so(store: JobStore, submit: Submit) -> None:
    submit()
    submit()
    assert store.list(limit=2)[1] is False
    assert store.list(limit=1)[1] is True


@pytest.mark.parametrize("after", ["", "nonsense", "job_", "job_1", MISSING + "0", MISSING.upper(), "job_'; --"])
def test_a_made_up_cursor_is_refused(store: JobStore, after: str) -> None:
    with pytest.raises(LayercutError) as caught:
        store.list(after=after)
    assert caught.value.code == "invalid_cursor"


def test_filters_are_joined_by_and(store: JobStore, submit: Submit) -> None:
    plain = submit()
    other_model = submit(model="acme/roberta")
    other_task = submit(task="rte")
    tagged = submit(task="rte", metadata={"team": "search", "run": "1"})
    store.cancel(other_task.id)

    def found(**filters: object) -> set[str]:
        return {job.id for job in store.list(JobFilter(**filters))[0]}  # type: ignore[arg-type]

    assert found(model="acme/roberta") == {other_model.id}
    assert found(task="rte") == {other_task.id, tagged.id}
    assert found(task="R-T-E") == {other_task.id, tagged.id}, "in any spelling, as a request takes it"
    assert found(task="rte", statuses=[Status.QUEUED]) == {tagged.id}
    assert found(statuses=[Status.QUEUED]) == {plain.id, other_model.id, tagged.id}
    assert found(metadata={"team": "search", "run": "1"}) == {tagged.id}
    assert found(metadata={"team": "search", "run": "2"}) == set()
    assert found(metadata={"run": "search"}) == set(), "key and value belong together"


def test_own_data_is_listed_under_its_file_name(store: JobStore, submit: Submit) -> None:
    job = submit(task={"dataset": "/data/tweets.csv", "text_columns": ["text"], "label_column": "label"})
    assert [found.id for found in store.list(JobFilter(task="tweets.csv"))[0]] == [job.id]


def test_queue_position_counts_those_that_go_first(store: JobStore, submit: Submit) -> None:
    first, second, urgent = submit(), submit(), submit(priority=5)

    def places() -> list[int | None]:
        return [store.get(job.id).progress.queue_position for job in (urgent, first, second)]

    assert places() == [1, 2, 3]
    listed = {job.id: job.progress.queue_position for job in store.list()[0]}
    assert listed == {urgent.id: 1, first.id: 2, second.id: 3}
    store.claim("w")
    assert places() == [None, 1, 2]
    store.cancel(first.id)
    assert places() == [None, None, 1]


def test_events_are_paged_by_number(store: JobStore, submit: Submit) -> None:
    job = submit()
    claim = store.claim("w")
    assert claim is not None
    for step in range(5):
        store.record(claim.lease, say(EventType.LOG, f"line {step}"))
    page, more = store.events(job.id, limit=4)
    assert ([event.number for event in page], more) == ([1, 2, 3, 4], True)
    assert [event.type for event in page[:2]] == [EventType.QUEUED, EventType.STARTED]
    rest, more = store.events(job.id, after=4, limit=4)
    assert ([event.message for event in rest], more) == (["line 2", "line 3", "line 4"], False)
    assert store.events(job.id, after=99) == ([], False)


def test_heads_answers_for_many_jobs_at_once(store: JobStore, submit: Submit) -> None:
    first, second = submit(), submit()
    store.cancel(second.id)
    assert store.heads([first.id, second.id, MISSING]) == {
        first.id: (1, Status.QUEUED, 0),
        second.id: (2, Status.CANCELLED, 0),
    }
    assert store.heads([]) == {}


def test_a_page_of_events_is_bounded_by_bytes_too(
    store: JobStore, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.rows.PAGE_BYTES", 1000)
    job = submit()
    taken = store.claim("worker-1")
    assert taken is not None
    for size in (10, 600, 600, 5000, 10):
        store.record(taken.lease, say(EventType.LOG, "x" * size))

    pages, after, more = [], 0, True
    while more:
        page, more = store.events(job.id, after)
        pages.append([event.number for event in page])
        after = page[-1].number
    assert pages == [[1, 2, 3, 4], [5], [6], [7]]
    assert store.events(job.id, after) == ([], False)
    assert [event.number for event in store.events(job.id, 0, 2)[0]] == [1, 2]


def test_an_event_that_another_version_told_spoils_no_page(store: JobStore, submit: Submit, engine: Engine) -> None:
    job = submit()
    taken = store.claim("worker-1")
    assert taken is not None
    store.record(taken.lease, say(EventType.STAGE, "pruning", stage="pruning"))
    with engine.begin() as connection:
        connection.execute(update(events).where(events.c.number == 3).values(data={"stage": "polishing"}))

    found = store.events(job.id)[0]
    assert [(event.number, event.type) for event in found][2:] == [(3, EventType.LOG)]
    assert found[2].message == "pruning"
