"""Whether what the gateway needs can be used now. Each question has a thread of its own, and so long to be answered."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Engine

from api_schemas.errors import LayercutError
from api_schemas.workers import WorkerState
from service.settings import GatewaySettings
from service.wakeups import WakeUps
from store.artifacts import ArtifactStore
from store.disk_space import check_room, local_folders
from store.passing import MESSAGES
from store.probe import write_probe
from store.threads import start_beside
from store.workers import LIVING_SECONDS, WorkerStore

#: An answer is given to all who ask within this long.
FRESH_SECONDS = 1.0

Answer = TypeVar("Answer")


class Probe(Generic[Answer]):
    """One question, asked once at a time. Of one event loop."""

    def __init__(self, ask: Callable[[], Answer], late: str, seconds: float) -> None:
        """``late`` is the code of what is raised where ``ask`` takes more than ``seconds``."""
        self._ask, self._late, self._seconds = ask, late, seconds
        self._started = 0.0
        self._asked: Future[Answer] | None = None
        self._done = asyncio.Event()

    async def answer(self) -> Answer:
        """What ``ask`` returns, or raises; a question that hangs is not asked again beside itself."""
        now = time.monotonic()
        if self._asked is None or (self._asked.done() and now - self._started > FRESH_SECONDS):
            self._asked, self._started, self._done = start_beside(self._ask, "probe"), now, asyncio.Event()
            self._asked.add_done_callback(_setter(self._done))
        asked = self._asked
        if not asked.done():
            await self._wait(self._started + self._seconds - now)
        return asked.result()

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._done.wait(), seconds)
        except TimeoutError:
            raise LayercutError(self._late, MESSAGES[self._late]) from None


def _setter(done: asyncio.Event) -> Callable[[object], None]:
    """Sets it from another thread. Once for all who wait: each of their own would stay with a question that hangs."""
    loop = asyncio.get_running_loop()

    def tell(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it all who waited
            loop.call_soon_threadsafe(done.set)

    return tell


@dataclass(frozen=True)
class Probes:
    """``database`` answers with the workers that live; all raise what stands in the way."""

    database: Probe[list[WorkerState]]
    artifacts: Probe[None]
    broker: Probe[int]
    disk: Probe[None]


def open_probes(
    settings: GatewaySettings, engine: Engine, workers: WorkerStore, artifacts: ArtifactStore, wakeups: WakeUps
) -> Probes:
    folders = local_folders(settings.database_url, settings.artifacts_url)

    def ask_database() -> list[WorkerState]:
        write_probe(engine)
        return workers.living(LIVING_SECONDS)

    seconds = settings.database_seconds
    return Probes(
        database=Probe(ask_database, "database_unavailable", seconds),
        artifacts=Probe(artifacts.check, "storage_unavailable", seconds),
        broker=Probe(wakeups.waiting, "not_ready", seconds),
        disk=Probe(lambda: check_room(folders, settings.min_free_bytes), "storage_unavailable", seconds),
    )
