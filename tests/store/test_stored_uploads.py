"""Uploads: who sees them, how parts follow each other, who may complete them, and how long they stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from api_schemas.errors import LayercutError
from api_schemas.tenants import Quotas
from api_schemas.uploads import NewFile, UploadKind, UploadStatus
from store.audit import Actor, AuditLog
from store.columns import later
from store.jobs import JobStore
from store.stored_uploads import UploadStore, Writing, Written, hold
from store.tenants import TenantStore
from store.upload_retention import UploadRetention
from store.upload_tables import uploads as rows
from store.upload_uses import ReadyFile
from tests.support.store_samples import Submit

DATASET, MODEL = UploadKind.DATASET, UploadKind.MODEL
FILES = [NewFile(name="train.csv", bytes=10), NewFile(name="dev.csv", bytes=3, sha256="d" * 64)]
WRITTEN = Written([ReadyFile("train.csv", 10, "a" * 64), ReadyFile("dev.csv", 3, "b" * 64)], "c" * 64, "e" * 64, {})

Expire = Callable[[str, str], None]


@pytest.fixture
def uploads(engine: Engine) -> UploadStore:
    return UploadStore(engine, days=30).of(Actor())


@pytest.fixture
def retention(engine: Engine) -> UploadRetention:
    return UploadRetention(engine)


@pytest.fixture
def over(engine: Engine) -> Expire:
    """Move one of an upload's times an hour into the past, as waiting for it would."""

    def move(upload_id: str, column: str) -> None:
        with engine.begin() as connection:
            connection.execute(update(rows).where(rows.c.id == upload_id).values({column: later(-3600)}))

    return move


@contextmanager
def refused(code: str, words: str | None = None) -> Iterator[pytest.ExceptionInfo[LayercutError]]:
    with pytest.raises(LayercutError, match=words) as caught:
        yield caught
    assert caught.value.code == code


def sent(uploads: UploadStore, kind: UploadKind = DATASET) -> str:
    """An upload all of whose bytes are there."""
    upload_id = uploads.create(kind, FILES, "reviews").id
    for file in FILES:
        uploads.count_part(uploads.begin_part(upload_id, kind, file.name, 0), file.bytes)
    return upload_id


def taken(uploads: UploadStore, upload_id: str, kind: UploadKind = DATASET) -> Writing:
    found = uploads.take(upload_id, kind)
    assert found is not None
    return found


def completed(uploads: UploadStore, kind: UploadKind = DATASET) -> str:
    upload_id = sent(uploads, kind)
    uploads.finish(taken(uploads, upload_id, kind), WRITTEN)
    return upload_id


def test_parts_follow_each_other_and_then_the_upload_is_ready(uploads: UploadStore) -> None:
    made = uploads.create(DATASET, FILES, "reviews")
    assert (made.status, made.source, made.bytes) == ("uploading", f"upload:{made.id}", 13)
    sending = uploads.begin_part(made.id, DATASET, "train.csv", 0)
    first = sending.part
    sending = uploads.count_part(sending, 4)
    assert sending.part != first
    uploads.count_part(sending, 6)
    assert [file.received for file in uploads.get(made.id, DATASET).files] == [10, 0]
    with refused("upload_offset_mismatch", "0 of its 3 bytes") as caught:
        uploads.take(made.id, DATASET)
    assert caught.value.details == {"offset": 0}
    uploads.count_part(uploads.begin_part(made.id, DATASET, "dev.csv", 0), 3)
    held = taken(uploads, made.id)
    assert [(file.name, [part.bytes for part in file.parts], file.sha256) for file in held.files] == [
        ("train.csv", [4, 6], None), ("dev.csv", [3], "d" * 64),
    ]  # fmt: skip
    ready = uploads.finish(held, WRITTEN)
    assert (ready.status, ready.sha256) == (UploadStatus.READY, "c" * 64)
    found = uploads.ready(made.id, DATASET)
    assert (found.prefix, found.manifest_sha256, found.files) == (f"uploads/{made.id}", "e" * 64, tuple(WRITTEN.files))
    assert uploads.take(made.id, DATASET) is None, "nothing is left to do"


def test_a_part_that_is_out_of_order_is_told_where_to_go_on(uploads: UploadStore) -> None:
    upload_id = uploads.create(DATASET, FILES, None).id
    with refused("upload_offset_mismatch") as caught:
        uploads.begin_part(upload_id, DATASET, "train.csv", 5)
    assert caught.value.details == {"offset": 0}
    with refused("file_not_found", "it has train.csv, dev.csv"):
        uploads.begin_part(upload_id, DATASET, "test.csv", 0)
    done = completed(uploads)
    with refused("upload_complete") as caught:
        uploads.begin_part(done, DATASET, "train.csv", 10)
    assert caught.value.details == {"offset": 10}


def test_of_two_that_send_the_same_part_the_later_one_goes_on(uploads: UploadStore) -> None:
    upload_id = uploads.create(DATASET, FILES, None).id
    half_dead = uploads.begin_part(upload_id, DATASET, "train.csv", 0)
    again = uploads.begin_part(upload_id, DATASET, "train.csv", 0)
    assert half_dead.part != again.part
    with refused("upload_offset_mismatch", "another request sends to it"):
        uploads.count_part(half_dead, 4)
    again = uploads.count_part(again, 7)
    with refused("upload_offset_mismatch") as caught:
        uploads.count_part(half_dead, 4)
    assert caught.value.details == {"offset": 7}
    uploads.count_part(again, 3)


def test_parts_that_come_at_once_are_counted_once(uploads: UploadStore) -> None:
    upload_id = uploads.create(DATASET, FILES, None).id
    sending = uploads.begin_part(upload_id, DATASET, "train.csv", 0)
    barrier, codes = Barrier(4), list[str]()

    def count() -> None:
        barrier.wait()
        try:
            uploads.count_part(sending, 10)
            codes.append("counted")
        except LayercutError as error:
            codes.append(error.code)

    threads = [Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == ["counted", *["upload_offset_mismatch"] * 3]


def test_one_completes_and_the_next_may_once_it_is_not_heard_of(uploads: UploadStore, over: Expire) -> None:
    upload_id = sent(uploads)
    dead = taken(uploads, upload_id)
    assert uploads.take(upload_id, DATASET) is None
    assert uploads.renew(dead)
    over(upload_id, "held_until")
    heir = taken(uploads, upload_id)
    assert not uploads.renew(dead)
    with refused("upload_not_ready", "taken over"):
        uploads.finish(dead, WRITTEN)
    uploads.let_go(dead)
    assert uploads.take(upload_id, DATASET) is None, "it is the heir's"
    uploads.finish(heir, WRITTEN)


def test_a_file_that_was_damaged_on_its_way_begins_again(uploads: UploadStore) -> None:
    upload_id = sent(uploads)
    held = taken(uploads, upload_id)
    uploads.send_again(held, [1])
    assert [file.received for file in uploads.get(upload_id, DATASET).files] == [10, 0]
    uploads.count_part(uploads.begin_part(upload_id, DATASET, "dev.csv", 0), 3)
    assert [len(file.parts) for file in taken(uploads, upload_id).files] == [1, 1]


def test_one_that_failed_says_so_again(uploads: UploadStore, retention: UploadRetention) -> None:
    upload_id = sent(uploads)
    uploads.fail(taken(uploads, upload_id), LayercutError("dataset_invalid", "train.csv:1: the file has no rows"))
    found = uploads.get(upload_id, DATASET)
    assert (found.status, found.bytes) == ("failed", 0)
    assert found.error is not None
    assert found.error.code == "dataset_invalid"
    with refused("dataset_invalid", "no rows"):
        uploads.take(upload_id, DATASET)
    with refused("upload_complete"):
        uploads.begin_part(upload_id, DATASET, "train.csv", 10)
    with refused("upload_not_ready", "no rows"):
        uploads.ready(upload_id, DATASET)
    assert [left.prefix for left in retention.unswept()] == [f"uploads/{upload_id}"]


def test_what_comes_at_once_is_there_or_was_never_there(uploads: UploadStore, retention: UploadRetention) -> None:
    held = uploads.begin(DATASET, "reviews", 100)
    with refused("upload_not_ready"):
        uploads.ready(held.upload_id, DATASET)
    uploads.drop(held)
    with refused("upload_not_found"):
        uploads.get(held.upload_id, DATASET)
    assert [left.prefix for left in retention.unswept()] == [held.prefix]
    held = uploads.begin(DATASET, "reviews", 100)
    assert uploads.finish(held, WRITTEN).bytes == 13


def test_one_whose_gateway_died_is_swept(uploads: UploadStore, retention: UploadRetention, over: Expire) -> None:
    held = uploads.begin(DATASET, None, 100)
    over(held.upload_id, "expires_at")
    assert retention.expire() == [], "somebody is heard of"
    over(held.upload_id, "held_until")
    assert retention.expire() == [held.upload_id]
    assert not uploads.renew(held)


def test_those_of_others_are_not_there(uploads: UploadStore, engine: Engine) -> None:
    upload_id = completed(uploads)
    other = UploadStore(engine).of(Actor("team-b"))
    for ask in (other.get, other.delete, other.take, other.ready):
        with refused("upload_not_found"):
            ask(upload_id, DATASET)
    with refused("upload_not_found"):
        other.begin_part(upload_id, DATASET, "train.csv", 0)
    assert other.list(DATASET) == ([], False)
    with refused("upload_not_found"):
        uploads.get(upload_id, MODEL)
    with refused("upload_not_found", "is a dataset, and a model is needed"):
        uploads.ready(upload_id, MODEL)


def test_pages_are_newest_first(uploads: UploadStore) -> None:
    ids = [uploads.create(DATASET, FILES, None).id for _ in range(5)]
    completed(uploads, MODEL)
    page, has_more = uploads.list(DATASET, limit=2)
    assert ([one.id for one in page], has_more) == ([ids[4], ids[3]], True)
    page, has_more = uploads.list(DATASET, after=ids[3], limit=3)
    assert ([one.id for one in page], has_more) == ([ids[2], ids[1], ids[0]], False)
    with refused("invalid_cursor"):
        uploads.list(DATASET, after="job_x")


def test_they_count_against_the_quota(uploads: UploadStore, engine: Engine) -> None:
    tenants = TenantStore(engine)
    tenants.create("team-a", "A", Quotas(artifact_bytes=30))
    own = UploadStore(engine).of(Actor("team-a"))
    first = own.create(DATASET, FILES, None).id
    own.create(DATASET, FILES, None)
    assert tenants.usage("team-a").uploads_bytes == tenants.usage("team-a").artifact_bytes == 26
    with refused("quota_exceeded", "take 26 bytes, these would take 13 more, and the quota artifact_bytes is 30"):
        own.create(DATASET, FILES, None)
    own.delete(first, DATASET)
    held = own.begin(DATASET, None, 0)
    with refused("quota_exceeded"):
        own.finish(held, Written([ReadyFile("a.csv", 20, "a" * 64)], "", "", {}))
    uploads.create(DATASET, FILES, None)


def test_they_are_kept_for_their_time_and_then_expired(
    uploads: UploadStore, retention: UploadRetention, over: Expire
) -> None:
    upload_id = completed(uploads)
    retention.swept(retention.unswept()[0], 60)
    assert retention.unswept() == []
    assert retention.expire() == []
    over(upload_id, "expires_at")
    assert retention.expire() == [upload_id]
    for ask in (uploads.get, uploads.ready):
        with refused("expired", "was kept until"):
            ask(upload_id, DATASET)
    assert uploads.list(DATASET) == ([], False)
    left = retention.unswept()[0]
    assert (left.prefix, left.gone) == (f"uploads/{upload_id}", True)
    retention.swept(left, 60)
    assert retention.unswept() == [], "it is looked for once more in a minute"
    uploads.delete(upload_id, DATASET)


def test_one_that_is_used_stays_until_the_job_has_ended(
    uploads: UploadStore, engine: Engine, store: JobStore, submit: Submit, over: Expire
) -> None:
    retention = UploadRetention(engine)
    upload_id, job = completed(uploads), submit()
    over(upload_id, "expires_at")
    with engine.begin() as connection:
        hold(connection, job.id, [upload_id, upload_id])
    assert uploads.get(upload_id, DATASET).used_by == [job.id]
    with engine.connect() as connection:
        expires, now = connection.execute(select(rows.c.expires_at, later()).where(rows.c.id == upload_id)).one()
    assert 29 < (expires - now).total_seconds() / 86400 < 31, "use renews it"
    over(upload_id, "expires_at")
    assert retention.expire() == []
    with refused("upload_in_use", job.id):
        uploads.delete(upload_id, DATASET)
    store.cancel(job.id)
    store.retry(job.id)
    with refused("upload_in_use"):
        uploads.delete(upload_id, DATASET)
    store.cancel(job.id)
    assert uploads.get(upload_id, DATASET).used_by == []
    uploads.delete(upload_id, DATASET)
    uploads.delete(upload_id, DATASET)
    with refused("expired", "was deleted"):
        uploads.ready(upload_id, DATASET)
    with refused("job_not_retryable", "was deleted"):
        store.retry(job.id)


@pytest.mark.parametrize("state", ["uploading", "deleted", "other tenant"])
def test_what_is_not_ready_is_not_held(uploads: UploadStore, engine: Engine, submit: Submit, state: str) -> None:
    job, codes = submit(), {"uploading": "upload_not_ready", "deleted": "expired", "other tenant": "upload_not_found"}
    upload_id = sent(uploads) if state == "uploading" else completed(uploads)
    if state == "deleted":
        uploads.delete(upload_id, DATASET)
    if state == "other tenant":
        upload_id = completed(UploadStore(engine).of(Actor("team-b")))
    with refused(codes[state]), engine.begin() as connection:
        hold(connection, job.id, [upload_id])


def test_what_is_done_stands_in_the_audit_log(uploads: UploadStore, engine: Engine) -> None:
    upload_id = completed(uploads)
    uploads.delete(upload_id, DATASET)
    lines: list[Any] = AuditLog(engine).page("default")[0]
    assert [(line.action, line.target) for line in reversed(lines)] == [
        ("upload.create", upload_id), ("upload.ready", upload_id), ("upload.delete", upload_id),
    ]  # fmt: skip
