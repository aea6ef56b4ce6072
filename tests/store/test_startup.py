"""Processes start in any order, and are killed at any moment: the database is waited for, and a migration finished."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import inspect

from store.database import DatabaseAway, migrate, migrate_when_there, open_engine
from tests.support.serve_process import environment

#: Migrates as far as the last revision has gone half its way, says so, and hangs.
HALF_WAY = """
import sys, time
from alembic import op
from store.database import migrate, open_engine

def hang(name, table, columns, **more):
    made(name, table, columns, **more)
    if name == "ix_deliveries_due_at":
        print("half way", flush=True)
        time.sleep(60)

made, op.create_index = op.create_index, hang
migrate(open_engine(sys.argv[1]))
"""


def test_a_migration_that_was_killed_is_finished_by_the_next_start(empty_database_url: str) -> None:
    command = [sys.executable, "-P", "-c", HALF_WAY, empty_database_url]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half way\n"
        process.send_signal(signal.SIGKILL)
    engine = open_engine(empty_database_url, 2.5)
    migrate_when_there(engine, pytest.fail)
    assert {"jobs", "deliveries", "probes"} <= set(inspect(engine).get_table_names())
    assert "ix_deliveries_job_id" in {index["name"] for index in inspect(engine).get_indexes("deliveries")}
    migrate(engine)
    engine.dispose()


def test_a_database_that_stays_away_is_named_without_its_password() -> None:
    engine = open_engine("postgresql://user:secret@127.0.0.1:1/layercut", 2.5)
    told: list[str] = []
    with pytest.raises(DatabaseAway) as raised:
        migrate_when_there(engine, told.append, seconds=0.2)
    assert "127.0.0.1" in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert told == [f"{raised.value}; waiting for it"]


def test_what_is_no_database_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "layercut.db").write_text("this is a letter, and no database" * 100)
    engine = open_engine(f"sqlite:///{tmp_path}/layercut.db", 2.5)
    with pytest.raises(Exception, match="not a database"):
        migrate_when_there(engine, pytest.fail)
    engine.dispose()
