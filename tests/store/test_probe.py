"""Readiness writes to the database, and so may many gateways at one time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine, delete, event, select

from store.probe import write_probe
from store.tables import probes


def test_two_gateways_are_ready_on_a_database_that_no_gateway_wrote_to(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(delete(probes))
    # On SQLite one writes after the other.
    both = threading.Barrier(2 if engine.dialect.name == "postgresql" else 1)

    def neither_finds_a_row(connection: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE"):
            both.wait(20)

    event.listen(engine, "after_cursor_execute", neither_finds_a_row)
    with ThreadPoolExecutor(2) as gateways:
        list(gateways.map(write_probe, [engine, engine]))
    with engine.connect() as connection:
        assert len(connection.execute(select(probes)).all()) == 1
