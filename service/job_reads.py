"""Reading one job, for all who ask at one time: those that come while a question is under way are the next one.

A question to the database costs far more than a row of its answer, and so does the way to a thread and back. Alone a
request is asked for at once. Nothing is remembered: each answer was read after its request had come.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from api_schemas.jobs import Job
from store.jobs import JobStore
from store.rows import not_found

#: Jobs in one question.
MOST = 64
#: A question that takes longer holds nobody up: the next is asked beside it. What a frozen database costs a request is
#: so little more than its own time limit.
PATIENCE_SECONDS = 0.25
#: Questions at one time.
THREADS = 12

Found = dict[str, tuple[str, Job]]


@dataclass(eq=False)
class _Question:
    """One to the database, and who waits for the answer."""

    asked: list[tuple[str, asyncio.Future[Found]]]

    def answer(self, found: Found, error: Exception | None) -> None:
        for _, waiting in self.asked:
            if waiting.done():  # its client has gone
                continue
            if error is None:
                waiting.set_result(found)
            else:
                waiting.set_exception(error)


class JobReads:
    """Of one event loop; close it at the end."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="job-reads")
        self._waiting: list[tuple[str, asyncio.Future[Found]]] = []
        #: What newcomers wait for; one that takes too long is waited for no more.
        self._current: _Question | None = None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def get(self, job_id: str, tenant: str) -> Job:
        """Raises ``job_not_found``, also for another tenant's, and what the database raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Found] = loop.create_future()
        self._waiting.append((job_id, answer))
        if self._current is None and len(self._waiting) == 1:
            # Not at once: what else this turn of the loop has read from its sockets joins in.
            loop.call_soon(self._go_on, None)
        owner, job = (await answer).get(job_id, (None, None))
        if job is None or owner != tenant:
            raise not_found(job_id)
        return job

    def _go_on(self, over: _Question | None) -> None:
        """Ask what waits, where nothing but ``over`` is waited for."""
        if self._current is not over:
            return
        self._current = None
        if self._waiting:
            loop = asyncio.get_running_loop()
            asked, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            question = self._current = _Question(asked)
            overdue = loop.call_later(PATIENCE_SECONDS, self._go_on, question)
            self._threads.submit(self._ask, loop, question, overdue)

    def _ask(self, loop: asyncio.AbstractEventLoop, question: _Question, overdue: asyncio.TimerHandle) -> None:
        found: Found = {}
        error: Exception | None = None
        try:
            found = self._store.get_few({job_id for job_id, _ in question.asked})
        except Exception as raised:  # noqa: BLE001 - whoever waits for it is to have it
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(self._tell, question, overdue, found, error)

    def _tell(self, question: _Question, overdue: asyncio.TimerHandle, found: Found, error: Exception | None) -> None:
        overdue.cancel()
        question.answer(found, error)
        self._go_on(question)
