"""One object, read by several requests at a time: object stores give each of them no more than a share of the line."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import chain

import obstore
from obstore.store import ObjectStore

#: What one request asks for, and how many are under way: together what one reader has in memory.
RANGE_BYTES = 4 << 20
RANGES_AT_ONCE = 6


def read_ahead(store: ObjectStore, path: str, start: int, end: int) -> Iterator[bytes]:
    """The bytes ``start`` up to, not including, ``end``, at least one; fewer where the object has no more.

    Raises what the store raises: of the first range here, of the others when they are read.
    """
    ask = partial(_range, store, path, end)
    first = ask(start)
    return _joined(first, _rest(ask, range(start + RANGE_BYTES, end, RANGE_BYTES)))


def _range(store: ObjectStore, path: str, end: int, start: int) -> obstore.Bytes:
    return obstore.get_range(store, path, start=start, end=min(end, start + RANGE_BYTES))


def _joined(first: obstore.Bytes, rest: Generator[obstore.Bytes, None, None]) -> Iterator[bytes]:
    """Up to the first that is not whole: what would come after it does not exist."""
    with closing(rest):
        for found in chain([first], rest):
            yield bytes(found)  # not before: a copy of each that waits would be as much memory again
            if len(found) < RANGE_BYTES:
                return


def _rest(ask: Callable[[int], obstore.Bytes], starts: Iterable[int]) -> Generator[obstore.Bytes, None, None]:
    """What ``ask`` gives of each, in turn."""
    waiting: deque[Future[obstore.Bytes]] = deque()
    pool = ThreadPoolExecutor(RANGES_AT_ONCE, "read-ahead")
    try:
        for start in starts:
            waiting.append(pool.submit(ask, start))
            if len(waiting) == RANGES_AT_ONCE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
