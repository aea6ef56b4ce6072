"""`AsyncClient` as a test calls `Client`: so that one test is of both."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from layercut.client import AsyncClient, Client


class BlockingClient:
    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._loop = asyncio.new_event_loop()

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            made = getattr(self._client, name)(*args, **kwargs)
            return self._loop.run_until_complete(made) if inspect.isawaitable(made) else self._iterate(made)

        return call

    def _iterate(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        nothing = object()
        try:
            while (item := self._loop.run_until_complete(anext(items, nothing))) is not nothing:
                yield item
        finally:
            self._loop.run_until_complete(items.aclose())  # type: ignore[attr-defined]

    def close(self) -> None:
        self._loop.run_until_complete(self._client.aclose())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


@contextmanager
def either_client(kind: type[Client] | type[AsyncClient], url: str, **options: Any) -> Iterator[Client]:
    """One that waits, whichever it is."""
    client: Any = kind(url, **options)
    client = BlockingClient(client) if kind is AsyncClient else client
    try:
        yield client
    finally:
        client.close()
