"""Reading one job, for all who ask at one time: those that come while a question is under way are the next one.

A question to the database costs far more than a row of its answer, and so does the way to a thread and back. Alone a
request is asked for at once. Nothing is remembered: each answer was read after its request had come.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

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


class JobReads:
    """Of one event loop; close it at the end."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="job-reads")
        self._waiting: list[tuple[str, asyncio.Future[Found]]] = []
        #: The question that newcomers wait for; one that takes too long is waited for no more.
        self._current: asyncio.Future[Found] | None = None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def get(self, job_id: str, tenant: str) -> Job:
        """Raises ``job_not_found``, also for another tenant's, and what the database raises."""
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._waiting.append((job_id, answer))
        if self._current is None and len(self._waiting) == 1:
            # Not at once: what else this turn of the loop has read from its sockets joins in.
            asyncio.get_running_loop().call_soon(self._begin)
        owner, job = (await answer).get(job_id, (None, None))
        if job is None or owner != tenant:
            raise not_found(job_id)
        return job

    def _begin(self) -> None:
        if self._current is None:
            self._ask()

    def _ask(self) -> None:
        self._current = None
        if not self._waiting:
            return
        batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        loop = asyncio.get_running_loop()
        asked = loop.run_in_executor(self._threads, self._store.get_few, {job_id for job_id, _ in batch})
        self._current = asked
        overdue = loop.call_later(PATIENCE_SECONDS, self._go_on, asked)

        def tell(done: asyncio.Future[Found]) -> None:
            overdue.cancel()
            for _, answer in batch:
                _hand_over(done, answer)
            self._go_on(done)

        asked.add_done_callback(tell)

    def _go_on(self, asked: asyncio.Future[Found]) -> None:
        if self._current is asked:
            self._ask()


def _hand_over(done: asyncio.Future[Found], answer: asyncio.Future[Found]) -> None:
    if answer.done():  # its client has gone
        return
    if done.cancelled():
        answer.cancel()
    elif (error := done.exception()) is not None:
        answer.set_exception(error)
    else:
        answer.set_result(done.result())
