"""How `AsyncClient` carries out a flow: as wire.py does, but that it awaits, and works with files in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import httpx

from layercut.client.exchange import LOST, Body, begun, follows, lost, sent
from layercut.client.steps import Answer, Ask, Flow, Item, Open, Pause, Read, Request, Work
from layercut.client.way import Way

T = TypeVar("T")


class AsyncWire:
    """Of one flow. What it has open is closed when it ends, or when the iterator is."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._response: httpx.Response | None = None
        self._blocks: AsyncIterator[bytes] | None = None
        self._do: dict[type[Any], Callable[[Any], Awaitable[Any]]] = {
            Ask: self._ask,
            Open: self._open,
            Read: self._read,
            Pause: lambda step: asyncio.sleep(step.seconds),
            Work: lambda step: asyncio.to_thread(step.do),
        }

    async def run(self, flow: Flow[T]) -> T:
        way = Way(flow)
        async for _ in self._items(way):
            pass
        return way.result

    def items(self, flow: Flow[None]) -> AsyncIterator[Any]:
        return self._items(Way(flow))

    async def _items(self, way: Way[Any]) -> AsyncIterator[Any]:
        try:
            while (step := way.step()) is not None:
                if isinstance(step, Item):
                    yield step.value
                    continue
                try:
                    way.came(await self._do[type(step)](step))
                except LOST as why:
                    way.broke(lost(why))
        finally:
            way.leave()
            await self._close()

    async def _ask(self, step: Ask) -> Answer:
        response = await self._send(step.request)
        try:
            return await _whole(step.request, response)
        finally:
            await response.aclose()

    async def _open(self, step: Open) -> Answer:
        await self._close()
        self._response = response = await self._send(step.request)
        if response.is_error:
            return await _whole(step.request, response)
        self._blocks = response.aiter_raw(step.block or None)
        return begun(step.request, response)

    async def _read(self, _: Read) -> bytes:
        return b"" if self._blocks is None else await anext(self._blocks, b"")

    async def _send(self, request: Request) -> httpx.Response:
        return await self._http.send(sent(self._http, request), stream=True, follow_redirects=follows(request))

    async def _close(self) -> None:
        if self._response is not None:
            await self._response.aclose()
        self._response = self._blocks = None


async def _whole(request: Request, response: httpx.Response) -> Answer:
    body = Body(request)
    async for block in response.aiter_raw():
        body.add(block)
    return begun(request, response, body.content)
