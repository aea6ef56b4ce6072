"""Uploads where two act at once, or an answer is lost: nothing is left that nobody sweeps, and all of it counts."""

from __future__ import annotations

from threading import Thread

import pytest
from sqlalchemy import Engine, select, text, update

from api_schemas.errors import LayercutError
from api_schemas.tenants import Quotas
from api_schemas.uploads import NewFile, UploadKind
from store.audit import Actor
from store.columns import later
from store.stored_uploads import UploadStore, Written
from store.tenants import TenantStore
from store.upload_retention import UploadRetention
from store.upload_tables import uploads as rows
from store.upload_uses import ReadyFile
from tests.support.processes import eventually

DATASET, MODEL = UploadKind.DATASET, UploadKind.MODEL
WRITTEN = Written([ReadyFile("a.csv", 10, "a" * 64)], "c" * 64, "e" * 64, {})
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.fixture
def uploads(engine: Engine) -> UploadStore:
    TenantStore(engine).create("team-a", "A", Quotas(artifact_bytes=100))
    return UploadStore(engine).of(Actor("team-a"))


def used(engine: Engine) -> int:
    return TenantStore(engine).usage("team-a").uploads_bytes


def sent(uploads: UploadStore, size: int) -> str:
    """An archive of ``size`` bytes that is there."""
    upload_id = uploads.create(MODEL, [NewFile(name="m.tar.gz", bytes=size)], None).id
    uploads.count_part(uploads.begin_part(upload_id, MODEL, "m.tar.gz", 0), size)
    return upload_id


@pytest.mark.parametrize("deleted_parts", [True, False])
def test_one_that_is_deleted_while_its_parts_are_swept_is_swept_too(
    uploads: UploadStore, engine: Engine, deleted_parts: bool
) -> None:
    retention = UploadRetention(engine)
    upload_id = uploads.finish(uploads.begin(DATASET, None, 10), WRITTEN).id
    (left,) = retention.unswept()
    assert left.prefix == f"uploads/{upload_id}/parts"
    uploads.delete(upload_id, DATASET)
    if deleted_parts:
        retention.swept(left, 60)
    else:
        retention.put_off(left)
    assert [one.prefix for one in retention.unswept()] == [f"uploads/{upload_id}"]


def test_of_two_that_delete_it_at_once_neither_is_told_that_it_was_never_there(
    uploads: UploadStore, engine: Engine
) -> None:
    upload_id = uploads.finish(uploads.begin(DATASET, None, 10), WRITTEN).id
    errors: list[Exception] = []

    def delete() -> None:
        try:
            uploads.delete(upload_id, DATASET)
        except Exception as error:  # noqa: BLE001 - told below
            errors.append(error)

    second = Thread(target=delete)
    with engine.begin() as first:  # which has not ended yet
        gone = {"gone_at": later(), "sweep_at": later(), "deleted": True}
        first.execute(update(rows).where(rows.c.id == upload_id).values(**gone))
        second.start()
        if engine.dialect.name == "postgresql":
            eventually(lambda: _blocked(engine))
    second.join(30)
    assert (second.is_alive(), errors) == (False, [])


def _blocked(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(text(BLOCKED)) or 0


def test_what_is_written_of_an_unknown_size_counts_as_it_comes(uploads: UploadStore, engine: Engine) -> None:
    first, second = uploads.begin(DATASET, None, 0), uploads.begin(DATASET, None, 20)
    assert uploads.renew(first, 60)
    assert used(engine) == 80
    assert uploads.renew(second, 20), "it was announced with as much"
    with pytest.raises(LayercutError, match="these would take 30 more") as caught:
        uploads.renew(second, 50)
    assert caught.value.code == "quota_exceeded"
    assert used(engine) == 80
    with engine.begin() as connection:  # it was heard of all the same: nobody else may take it up
        late = update(rows).where(rows.c.id == second.upload_id).values(held_until=later(-1))
        connection.execute(late)
    with pytest.raises(LayercutError, match="these would take 30 more"):
        uploads.renew(second, 50)
    with engine.begin() as connection:
        assert connection.scalar(select(rows.c.held_until > later()).where(rows.c.id == second.upload_id))
    assert uploads.drop(first)
    assert uploads.renew(second, 50)
    uploads.finish(second, WRITTEN)
    assert used(engine) == 10


def test_an_archive_that_was_unpacked_in_vain_counts_as_it_was_announced(uploads: UploadStore, engine: Engine) -> None:
    upload_id = sent(uploads, 30)
    held = uploads.take(upload_id, MODEL)
    assert held is not None
    assert held.room == 100
    uploads.renew(held, 90)
    assert used(engine) == 90
    uploads.let_go(held)
    assert used(engine) == 30
    dead = uploads.take(upload_id, MODEL)
    assert dead is not None
    uploads.renew(dead, 90)
    with engine.begin() as connection:
        connection.execute(update(rows).values(held_until=later(-1)))
    heir = uploads.take(upload_id, MODEL)
    assert heir is not None
    assert (heir.room, used(engine)) == (100, 30)
    uploads.send_again(heir, [0])
    assert used(engine) == 30


def test_one_that_is_ready_is_not_dropped(uploads: UploadStore, engine: Engine) -> None:
    held = uploads.begin(DATASET, None, 10)
    uploads.finish(held, WRITTEN)
    assert not uploads.drop(held)
    assert uploads.get(held.upload_id, DATASET).status == "ready"
    with engine.connect() as connection:
        assert connection.scalar(select(rows.c.gone_at)) is None


def test_notes_and_errors_count_in_the_size_of_a_page(uploads: UploadStore) -> None:
    notes = ["x" * 2**20]
    ids = []
    for _ in range(6):
        ids.append(uploads.finish(uploads.begin(DATASET, None, 10), Written(WRITTEN.files, "", "", {}, notes)).id)
    page, has_more = uploads.list(DATASET, limit=20)
    assert (len(page), has_more) == (3, True)
    rest, has_more = uploads.list(DATASET, after=page[-1].id, limit=20)
    assert ([one.id for one in (*page, *rest)], has_more) == (ids[::-1], False)
