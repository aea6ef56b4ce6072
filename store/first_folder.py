"""Makes the folder of an artifact store, once: one that is gone later is away, and is not made anew."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import IntegrityError

from store.columns import later
from store.database import reading
from store.tables import jobs, probes

#: Of the row which says that the folder was there.
NAME = "artifacts"

_NOTED = select(probes.c.name).where(probes.c.name == NAME)
#: Whoever ran these had a folder: of a layercut from before there was such a row.
_RAN = select(jobs.c.id).where(jobs.c.attempt > 0).limit(1)


def make_folder_once(engine: Engine, folder: Path | None, tell: Callable[[str], object]) -> None:
    """Make the ``folder``, if the store has one, for a database that has known none; raises ``OSError``.

    Otherwise it is on a disk that is not mounted, and would be made on the one below: ``tell`` is given a sentence.
    """
    if folder is None:
        return
    noted = _finds(engine, _NOTED)
    if not noted and not _finds(engine, _RAN):
        folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        tell(f"the artifact store's folder {folder} is not there: mount its disk, or make it where it is to be new")
    elif not noted:
        # After the folder: who is killed in between makes it again.
        with suppress(IntegrityError), engine.begin() as connection:  # another process was faster
            connection.execute(insert(probes).values(name=NAME, written_at=later()))


def _finds(engine: Engine, query: Any) -> bool:
    with reading(engine) as connection:
        return connection.execute(query).first() is not None
