"""Trying again what failed for a reason that passes: a store, a database or a hub that is away for a while."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from typing import TypeVar

from api_schemas.errors import LayercutError
from store.passing import passing
from workers.runtime.failures import code_of

log = logging.getLogger("layercut.retries")

FIRST_SECONDS, LONGEST_SECONDS = 0.5, 30.0

#: These pass when somebody makes room, and not while one waits.
NOT_SOON = frozenset({"storage_full"})

Answer = TypeVar("Answer")
#: Waits so many seconds; whether to give up.
Wait = Callable[[float], bool]
#: Hears of an error that passes.
Tell = Callable[[LayercutError], None]


class Pauses:
    """How long to wait before each further try: twice as long as before, and by chance up to half of it less, so that
    those who met the same fault do not all come back at once.
    """

    def __init__(self, longest: float = LONGEST_SECONDS) -> None:
        self._next, self._longest = FIRST_SECONDS, longest

    def next(self) -> float:
        """Seconds."""
        seconds, self._next = self._next, min(self._longest, 2 * self._next)
        return seconds * random.uniform(0.5, 1.0)


def persist(
    call: Callable[[], Answer],
    wait: Wait,
    what: str,
    *,
    tell: Tell,
    seconds: float = math.inf,
    not_soon: frozenset[str] = NOT_SOON,
) -> Answer:
    """What ``call`` answers; while it raises what passes, and is none of the codes ``not_soon``, it is called again
    after a pause, for so many seconds from its first failure on.

    ``tell`` hears of that failure; ``what`` names the work in the log. Raises what ``call`` raises; what passes, as the
    ``LayercutError`` that people should read.
    """
    pauses, until = Pauses(), None
    while True:
        try:
            return call()
        except Exception as error:
            passes = passing(error)
            if passes is None:
                raise
            log.warning("%s: %s: %s", what, passes.code, type(error).__name__)
            log.debug("%s", what, exc_info=True)
            if passes.code not in not_soon:
                if until is None:
                    until = time.monotonic() + seconds
                    tell(passes)
                left = until - time.monotonic()
                if left > 0 and not wait(min(left, pauses.next())):
                    continue
            raise passes from (None if passes is error else error)


def untold(_: LayercutError) -> None:
    """For work that nobody but the log hears of."""


def told(error: Exception, what: str) -> LayercutError:
    """What a user hears of an error that ``what`` met: of one that is not in the table, no more than its kind. The rest
    of it is full of our paths, and is logged by whoever caught it.
    """
    if isinstance(error, LayercutError):
        return error
    passes, code = passing(error), code_of(error)
    if passes is not None:
        return passes
    kind = type(error).__name__
    return LayercutError(code, f"{what} met an error that nobody foresaw ({kind}): the worker's log has all of it")
