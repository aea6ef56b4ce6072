"""A job's log in pieces: by offsets in bytes, written by the lease's holder alone, the oldest gone first."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, delete, update

from api_schemas.errors import LayercutError
from store.audit import Actor
from store.jobs import JobStore, Lease, LeaseLost
from store.tables import job_logs, jobs
from tests.support.store_samples import FAILED, Submit

Write = Callable[..., int]


@pytest.fixture
def lease(store: JobStore, submit: Submit) -> Lease:
    submit()
    taken = store.claim("worker-1")
    assert taken is not None
    return taken.lease


@pytest.fixture
def write(store: JobStore, lease: Lease) -> Write:
    """Write pieces, one after the other; where the log then ends."""

    def pieces(*texts: str, keep: int = 10_000) -> int:
        for text in texts:
            store.write_log(lease, text, store.log_end(lease), keep)
        return store.log_end(lease)

    return pieces


def texts(store: JobStore, lease: Lease, offset: int = 0, limit: int = 10_000) -> list[tuple[int, str]]:
    return [(piece.offset, piece.text) for piece in store.log(lease.job_id, offset, limit).data]


def test_it_is_read_from_any_offset_without_cutting_a_character(store: JobStore, lease: Lease, write: Write) -> None:
    end = write("one\n", "zwölf 🦙\n", "three\n")
    whole = "one\nzwölf 🦙\nthree\n".encode()
    assert end == len(whole)
    for offset in range(end):
        for limit in (1, 8, 9, 13, 100):
            page = store.log(lease.job_id, offset, limit)
            said = "".join(piece.text for piece in page.data).encode()
            # Where the offset lies within a character, that one is left out.
            assert whole[page.next_offset - len(said) : page.next_offset] == said
            assert page.next_offset > offset
            assert len(said) <= max(limit, 8)
    got, offset = "", 0
    while offset < end:
        page = store.log(lease.job_id, offset, 8)
        got, offset = got + "".join(piece.text for piece in page.data), page.next_offset
    assert got.encode() == whole


def test_past_the_end_there_is_nothing_and_the_next_offset(store: JobStore, lease: Lease, write: Write) -> None:
    end = write("one\n")
    for offset in (end, end + 1, 2**40):
        page = store.log(lease.job_id, offset)
        assert (page.data, page.next_offset, page.complete) == ([], end, False)
    store.finish(lease, FAILED)
    assert store.log(lease.job_id, end).complete


def test_the_oldest_pieces_go(store: JobStore, lease: Lease, write: Write) -> None:
    write("a" * 40, "b" * 40, "c" * 40, keep=100)
    page = store.log(lease.job_id, 0)
    assert (page.start, texts(store, lease)) == (40, [(40, "b" * 40), (80, "c" * 40)])
    write("d" * 200, keep=100)
    page = store.log(lease.job_id, 0)
    assert (page.data, page.start, page.next_offset) == ([], 320, 320), "a piece larger than all that is kept"


def test_a_piece_that_is_written_twice_is_there_once(store: JobStore, lease: Lease) -> None:
    assert store.write_log(lease, "one\n", 0, 100) == 4
    assert store.write_log(lease, "one\n", 0, 100) == 4
    assert store.write_log(lease, "two\n", 4, 100) == 8
    assert texts(store, lease) == [(0, "one\n"), (4, "two\n")]


def test_only_the_holder_of_the_lease_writes(store: JobStore, lease: Lease, write: Write) -> None:
    write("one\n")
    other = Lease(lease.job_id, lease.attempt, "other")
    for ask in (lambda: store.write_log(other, "x", 4, 100), lambda: store.log_end(other)):
        with pytest.raises(LeaseLost):
            ask()
    store.finish(lease, FAILED)
    with pytest.raises(LeaseLost):
        store.write_log(lease, "x", 4, 100)
    assert texts(store, lease) == [(0, "one\n")]


def test_the_next_attempt_goes_on_at_the_end(store: JobStore, lease: Lease, write: Write, engine: Engine) -> None:
    write("one\n")
    store.release(lease, "gone")
    with engine.begin() as connection:
        connection.execute(update(jobs).values(claimable_at=None))
    again = store.claim("worker-2")
    assert again is not None
    assert store.write_log(again.lease, "two\n", store.log_end(again.lease), 100) == 8
    assert [(piece.attempt, piece.text) for piece in store.log(lease.job_id).data] == [(1, "one\n"), (2, "two\n")]


def test_what_is_gone_by_age_is_said(store: JobStore, lease: Lease, write: Write, engine: Engine) -> None:
    end = write("one\n")
    with engine.begin() as connection:
        connection.execute(delete(job_logs))
        connection.execute(update(jobs).values(log_start=end))
    assert store.log(lease.job_id).start == end, "while the job runs, more may come"
    store.finish(lease, FAILED)
    with pytest.raises(LayercutError, match="was kept for its time"):
        store.log(lease.job_id)


def test_another_tenants_log_is_not_there(store: JobStore, lease: Lease, write: Write) -> None:
    write("one\n")
    for ask in (lambda: store.of(Actor("team-b")).log(lease.job_id), lambda: store.log("job_of_nobody")):
        with pytest.raises(LayercutError) as refused:
            ask()
        assert refused.value.code == "job_not_found"
