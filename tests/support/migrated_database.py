"""SQLite databases with tables: migrated once a process, copied for each test. Eight migrations take longer than most
tests do.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy import make_url

from store.database import migrate, open_engine


def migrated_sqlite(url: str) -> str:
    """Make the database of ``url``, ``sqlite:///…``, and its folder, unless it is there; gives ``url``."""
    path = Path(make_url(url).database or "")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(_newest())
    return url


@cache
def _newest() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layercut.db"
        engine = open_engine(f"sqlite:///{path}")
        migrate(engine)
        engine.dispose()  # the last connection moves all of its log into the file
        return path.read_bytes()
