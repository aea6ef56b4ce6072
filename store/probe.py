"""A write that readiness does, to see that the database takes one."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from store.columns import later
from store.tables import jobs, probes

#: One row for all gateways: what it says does not matter, only that it was committed.
NAME = "readyz"


def write_probe(engine: Engine) -> None:
    """Commit a small change where the tables are those of ours; raises what the database raises."""
    with engine.begin() as connection:
        written = connection.execute(update(probes).where(probes.c.name == NAME).values(written_at=later()))
        if not written.rowcount:
            with suppress(IntegrityError), connection.begin_nested():  # another gateway's first was faster
                connection.execute(insert(probes).values(name=NAME, written_at=later()))
        connection.execute(select(jobs.c.id).limit(1))
