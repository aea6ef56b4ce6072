"""DuckDB, locked in: it opens the one file that it is given, and neither the network nor anything else.

It is imported here, when the first table is opened.
"""

# ruff: noqa: PLC0414, PLC0415 - its errors are caught by the names that they have here

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sources.beneath import open_plain
from sources.tables.bounds import MAX_ROW

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection
    from duckdb import Error as Error
    from duckdb import InterruptException as InterruptException
    from duckdb import OutOfMemoryException as OutOfMemoryException

MEMORY = "400MB"
THREADS = 2
#: It must hold one row at least, and DuckDB's own would be sixteen times as large.
BUFFER = 2 * MAX_ROW
SPILL = "20GB"
NAME = "table"
#: Seconds from one interrupt to the next.
AGAIN = 0.2


def __getattr__(name: str) -> Any:
    """DuckDB's own errors, for those who catch them."""
    if name not in ("Error", "InterruptException", "OutOfMemoryException"):
        raise AttributeError(name)
    import duckdb

    return getattr(duckdb, name)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for what is rewritten, and for what memory has no room for."""
    with TemporaryDirectory(prefix="layercut-table-") as folder:
        yield Path(folder)


@contextmanager
def connect(path: Path, folder: Path) -> Iterator[tuple[Connection, str]]:
    """A connection that reads ``path`` and writes to ``folder`` alone, and what SQL calls the file there.

    The name is ours: a star or a bracket in a user's would be a pattern.
    """
    open_plain(path).close()  # DuckDB would wait at a FIFO
    link = folder / NAME
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    options: dict[str, str | bool | int | float | list[str]] = {
        "threads": THREADS,
        "memory_limit": MEMORY,
        "temp_directory": str(folder / "spill"),
        "max_temp_directory_size": SPILL,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
    }
    import duckdb

    with duckdb.connect(":memory:", config=options) as connection:
        # It would be drawn on stdout, which is not ours to draw on.
        connection.execute("SET enable_progress_bar = false")
        connection.execute(f"SET allowed_paths = [{literal(str(link))}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        yield connection, literal(str(link))


@contextmanager
def interrupted(connection: Connection, deadline: float) -> Iterator[None]:
    """Each query that goes on after ``deadline``, by the monotonic clock, raises ``InterruptException``."""
    if deadline == math.inf:
        yield
        return
    done = threading.Event()

    def interrupt() -> None:
        # Again and again: one that comes between two queries is forgotten.
        wait = deadline - time.monotonic()
        while not done.wait(max(wait, AGAIN)):
            connection.interrupt()
            wait = AGAIN

    thread = threading.Thread(target=interrupt, name="layercut-table", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def plainly(error: Error) -> str:
    """The first line of what DuckDB says, without the name that is ours."""
    # Cut first: it may quote a field of megabytes, in which the name would be looked for from each character on.
    first = str(error).splitlines()[0][:2000]
    return re.sub(r"['\"]?\S*layercut-table-[^'\"\s:,]*['\"]?", "the file", first)[:500]


def literal(text: str) -> str:
    """``text`` as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A column's name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'
