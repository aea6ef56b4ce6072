"""Reads ahead in a thread, so that reading and writing overlap; and so that what reads may use the store, too: obstore
cannot be called from within an iterator that it is sending.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from queue import Full, Queue

#: Blocks that wait to be written.
DEPTH = 2
#: How often a reader that nobody takes from looks whether somebody will, in seconds.
LOOK_SECONDS = 1.0

_END = object()


def ahead(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same ``blocks``; what reading them raises is raised here. Where it is given up, reading ends by itself."""
    waiting: Queue[object] = Queue(DEPTH)
    given_up = threading.Event()
    threading.Thread(target=_fill, args=(blocks, waiting, given_up), name="upload-reading", daemon=True).start()
    try:
        while (found := waiting.get()) is not _END:
            if isinstance(found, BaseException):
                raise found
            assert isinstance(found, bytes)
            yield found
    finally:
        given_up.set()


def _fill(blocks: Iterable[bytes], waiting: Queue[object], given_up: threading.Event) -> None:
    try:
        for block in blocks:
            if not _put(block, waiting, given_up):
                return
        _put(_END, waiting, given_up)
    except BaseException as error:  # noqa: BLE001 - it is raised where the blocks are taken
        _put(error, waiting, given_up)


def _put(item: object, waiting: Queue[object], given_up: threading.Event) -> bool:
    """Whether anybody still takes it."""
    while not given_up.is_set():
        try:
            waiting.put(item, timeout=LOOK_SECONDS)
        except Full:
            continue
        return True
    return False
