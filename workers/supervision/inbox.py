"""What an attempt listens to: its runner, its lease, its staging. Only the runner, maybe hostile, has to wait."""

from __future__ import annotations

import threading
from contextlib import suppress
from queue import Empty, SimpleQueue

#: Messages of a runner that nobody has taken yet. The next ones stay in its pipe, and then it has to wait itself.
CAPACITY = 8


class Inbox:
    """In the order in which they came. What is put never waits; what is offered does, while ``capacity`` others do."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        # Reentrant, so that a signal handler may put something here too; the semaphore is not, and is not for those.
        self._items: SimpleQueue[tuple[object, bool]] = SimpleQueue()
        self._room = threading.Semaphore(capacity)
        self._closed = False

    def put(self, item: object) -> None:
        self._items.put((item, False))

    def offer(self, item: object) -> None:
        """Put it in once there is room; it is lost where the inbox is closed until then."""
        self._room.acquire()
        if self._closed:
            self._room.release()  # whoever waits behind is let go too
        else:
            self._items.put((item, True))

    def get(self, timeout: float | None = None) -> object:
        """The next; raises ``queue.Empty`` after ``timeout`` seconds."""
        item, offered = self._items.get(timeout=timeout)
        if offered:
            self._room.release()
        return item

    def clear(self) -> None:
        """Forget what nobody has taken."""
        with suppress(Empty):
            while True:
                self.get(timeout=0)

    def close(self) -> None:
        """Nothing that is offered is wanted any more; nobody waits for room."""
        self._closed = True
        self._room.release()
