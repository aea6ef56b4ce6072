"""Opening and migrating a database."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, insert, inspect, text
from sqlalchemy.exc import IntegrityError

import store.study_tables
import store.upload_tables  # noqa: F401
from store.columns import later
from store.database import migrate, open_engine
from store.tables import METADATA, events
from tests.support.store_samples import Submit


def test_the_revisions_make_the_tables_that_the_code_names(engine: Engine) -> None:
    def comparable(_item: object, _name: str, kind: str, *_: object) -> bool:
        # SQLite does not tell that a column of an index runs downwards.
        return kind != "index" or engine.dialect.name == "postgresql"

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": comparable})
        assert compare_metadata(context, METADATA) == []


def test_migrating_again_keeps_what_is_there(engine: Engine, submit: Submit) -> None:
    submit()
    migrate(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM jobs")).scalar() == 1


def test_a_migration_that_fails_leaves_no_half_made_tables(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> None:
        raise RuntimeError("the disk is gone")

    engine = open_engine(empty_database_url)
    monkeypatch.setattr(op, "create_index", fail)  # called once the first table is made
    with pytest.raises(RuntimeError, match="the disk is gone"):
        migrate(engine)
    assert inspect(engine).get_table_names() == []
    monkeypatch.undo()
    migrate(engine)
    assert "jobs" in inspect(engine).get_table_names()
    engine.dispose()


def test_an_event_needs_its_job(engine: Engine) -> None:
    orphan = {"job_id": "job_x", "number": 1, "type": "t", "level": "info", "message": "", "data": {}, "attempt": 0}
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(insert(events).values(**orphan, created_at=later()))


def test_sqlite_makes_its_folder_and_writes_ahead(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/new folder/50% öl/layercut.db")
    migrate(engine)
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    assert (tmp_path / "new folder" / "50% öl" / "layercut.db").stat().st_size > 0
    engine.dispose()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_postgresql_url_means_psycopg_3(scheme: str) -> None:
    engine = open_engine(f"{scheme}://user:secret@127.0.0.1:1/layercut")
    assert engine.driver == "psycopg"
    assert "secret" not in repr(engine)
