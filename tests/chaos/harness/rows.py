"""The deployment's rows, read beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import create_engine, make_url, text


@contextmanager
def reader(database_url: str) -> Iterator[Callable[..., list[Any]]]:
    """Asks queries, with the values of their parameters by name, on a connection that is there already."""
    url = make_url(database_url)
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield lambda query, **values: list(connection.execute(text(query), values))
    finally:
        engine.dispose()
