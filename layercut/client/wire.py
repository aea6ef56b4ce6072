"""How `Client` carries out a flow: one step after the other, in the caller's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import sleep
from typing import Any, TypeVar

import httpx

from layercut.client.exchange import LOST, Body, begun, follows, lost, sent
from layercut.client.steps import Answer, Ask, Flow, Item, Open, Pause, Read, Request, Work
from layercut.client.way import Way

T = TypeVar("T")


class Wire:
    """Of one flow. What it has open is closed when it ends, or when nobody iterates any more."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._response: httpx.Response | None = None
        self._blocks: Iterator[bytes] = iter(())
        self._do: dict[type[Any], Callable[[Any], Any]] = {
            Ask: self._ask,
            Open: self._open,
            Read: lambda _: next(self._blocks, b""),
            Pause: lambda step: sleep(step.seconds),
            Work: lambda step: step.do(),
        }

    def run(self, flow: Flow[T]) -> T:
        way = Way(flow)
        for _ in self._items(way):
            pass
        return way.result

    def items(self, flow: Flow[None]) -> Iterator[Any]:
        return self._items(Way(flow))

    def _items(self, way: Way[Any]) -> Iterator[Any]:
        try:
            while (step := way.step()) is not None:
                if isinstance(step, Item):
                    yield step.value
                    continue
                try:
                    way.came(self._do[type(step)](step))
                except LOST as why:
                    way.broke(lost(why))
        finally:
            way.leave()
            self._close()

    def _ask(self, step: Ask) -> Answer:
        response = self._send(step.request)
        try:
            return _whole(step.request, response)
        finally:
            response.close()

    def _open(self, step: Open) -> Answer:
        self._close()
        self._response = response = self._send(step.request)
        if response.is_error:
            return _whole(step.request, response)
        self._blocks = response.iter_raw(step.block or None)
        return begun(step.request, response)

    def _send(self, request: Request) -> httpx.Response:
        return self._http.send(sent(self._http, request), stream=True, follow_redirects=follows(request))

    def _close(self) -> None:
        if self._response is not None:
            self._response.close()
        self._response, self._blocks = None, iter(())


def _whole(request: Request, response: httpx.Response) -> Answer:
    body = Body(request)
    for block in response.iter_raw():
        body.add(block)
    return begun(request, response, body.content)
