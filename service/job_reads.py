"""Reading one job, for all who ask at one time: those that come while a question is under way are the next one.

A question to the database costs far more than a row of its answer, and so does the way to a thread and back. Alone a
request is asked for at once. Nothing is remembered: each answer was read after its request had come.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from api_schemas.errors import LayercutError
from api_schemas.jobs import Job
from store.jobs import JobStore
from store.passing import passing
from store.rows import not_found

#: Jobs in one question, and in one that is asked because the one before takes so long.
MOST, MOST_LATE = 64, 1000
#: A question that takes longer holds nobody up: the next is asked beside it, for all who wait. What a frozen database
#: costs a request is so little more than its own time limit.
PATIENCE_SECONDS = 0.25
#: Questions at one time.
THREADS = 12

Found = dict[str, tuple[str, Job]]
#: Who waits, by the job.
Asked = dict[str, list["asyncio.Future[Found]"]]


@dataclass(eq=False)
class _Question:
    """One to the database, and who waits for the answer."""

    asked: Asked

    def answer(self, found: Found, errors: Mapping[str, Exception]) -> None:
        for job_id, waiting in self.asked.items():
            for one in waiting:
                if one.done():  # its client has gone
                    continue
                if job_id in errors:
                    one.set_exception(errors[job_id])
                else:
                    one.set_result(found)


class JobReads:
    """Of one event loop; close it at the end."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="job-reads")
        self._waiting: Asked = {}
        #: What newcomers wait for; one that takes too long is waited for no more.
        self._current: _Question | None = None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def get(self, job_id: str, tenant: str) -> Job:
        """Raises ``job_not_found``, also for another tenant's, and what the database raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Found] = loop.create_future()
        if self._current is None and not self._waiting:
            # Not at once: what else this turn of the loop has read from its sockets joins in.
            loop.call_soon(self._go_on, None)
        self._waiting.setdefault(job_id, []).append(answer)
        owner, job = (await answer).get(job_id, (None, None))
        if job is None or owner != tenant:
            raise not_found(job_id)
        return job

    def _go_on(self, over: _Question | None, most: int = MOST) -> None:
        """Ask what waits, where nothing but ``over`` is waited for."""
        if self._current is not over:
            return
        self._current = None
        if self._waiting:
            loop = asyncio.get_running_loop()
            asked = {job_id: self._waiting.pop(job_id) for job_id in list(islice(self._waiting, most))}
            question = self._current = _Question(asked)
            overdue = loop.call_later(PATIENCE_SECONDS, self._go_on, question, MOST_LATE)
            try:
                self._threads.submit(self._ask, loop, question, overdue)
            except RuntimeError:  # the host has no thread to give, or the service ends
                error = LayercutError("too_busy", "no thread could be started to read the job; try again later")
                self._tell(question, overdue, {}, dict.fromkeys(asked, error))

    def _ask(self, loop: asyncio.AbstractEventLoop, question: _Question, overdue: asyncio.TimerHandle) -> None:
        found, errors = self._read(tuple(question.asked))
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(self._tell, question, overdue, found, errors)

    def _read(self, job_ids: Collection[str]) -> tuple[Found, dict[str, Exception]]:
        """Those that exist, and why others cannot be read: a row that is broken costs no other job its answer."""
        try:
            return self._store.get_few(job_ids), {}
        except Exception as error:  # noqa: BLE001 - whoever waits for it is to have it
            if len(job_ids) == 1 or passing(error) is not None:
                return {}, dict.fromkeys(job_ids, error)
        found: Found = {}
        errors: dict[str, Exception] = {}
        for job_id in job_ids:
            one, why = self._read([job_id])
            found, errors = found | one, errors | why
        return found, errors

    def _tell(
        self, question: _Question, overdue: asyncio.TimerHandle, found: Found, errors: Mapping[str, Exception]
    ) -> None:
        overdue.cancel()
        question.answer(found, errors)
        self._go_on(question)
