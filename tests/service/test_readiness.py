"""Questions that readiness asks: once for all who want to know, and never for longer than they may take."""

from __future__ import annotations

import asyncio
import threading

import pytest

from api_schemas.errors import LayercutError
from service.readiness import Probe


def test_many_who_ask_at_once_share_one_answer() -> None:
    asked: list[int] = []

    async def ask_often() -> list[int]:
        probe = Probe(lambda: asked.append(1) or len(asked), "not_ready", 5)
        first = await asyncio.gather(*(probe.answer() for _ in range(50)))
        return [*first, await probe.answer()]

    assert asyncio.run(ask_often()) == [1] * 51


def test_what_hangs_is_given_up_and_not_asked_twice() -> None:
    released, asked = threading.Event(), []

    def hang() -> str:
        asked.append(1)
        released.wait(20)
        return "back"

    async def ask() -> str:
        probe = Probe(hang, "storage_unavailable", 0.1)
        for _ in range(3):
            with pytest.raises(LayercutError) as raised:
                await probe.answer()
            assert raised.value.code == "storage_unavailable"
        assert len(asked) == 1
        released.set()
        async with asyncio.timeout(10):
            while True:
                try:
                    return await probe.answer()
                except LayercutError:
                    await asyncio.sleep(0.01)

    assert asyncio.run(ask()) == "back"


@pytest.mark.parametrize("seconds", [0, 0.05])
def test_who_asks_leaves_nothing_with_what_hangs(seconds: float) -> None:
    released = threading.Event()

    async def ask() -> int:
        probe = Probe(lambda: released.wait(20), "storage_unavailable", seconds)
        for _ in range(10):
            asked = await asyncio.gather(*(probe.answer() for _ in range(100)), return_exceptions=True)
            assert {getattr(error, "code", None) for error in asked} == {"storage_unavailable"}
        assert probe._asked is not None
        return len(probe._asked._done_callbacks)

    try:
        assert asyncio.run(ask()) == 1
    finally:
        released.set()


def test_what_it_raises_is_raised_for_each() -> None:
    def fail() -> None:
        raise LayercutError("storage_full", "there is no room")

    async def ask() -> list[object]:
        probe = Probe(fail, "not_ready", 5)
        return list(await asyncio.gather(probe.answer(), probe.answer(), return_exceptions=True))

    assert [getattr(error, "code", None) for error in asyncio.run(ask())] == ["storage_full"] * 2
