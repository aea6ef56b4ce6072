"""A database as an older layercut has left it."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config

import store.migrations
from store.database import open_engine

REVISION = "0005"


def make_old(url: str) -> None:
    """Tables of that revision, without rows."""
    config = Config()
    config.set_main_option("script_location", str(Path(store.migrations.__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    engine = open_engine(url)
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, REVISION)
    finally:
        engine.dispose()
