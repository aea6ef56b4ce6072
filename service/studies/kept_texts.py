"""Texts that take long to write and are asked for again and again."""

from __future__ import annotations

import threading
from collections import OrderedDict

#: Characters of texts that are kept, all together.
MOST_KEPT = 16 * 2**20


class KeptTexts:
    """The latest that were written of studies that had ended. Thread-safe."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most, self._size = most, 0
        self._texts: OrderedDict[object, str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: object) -> str | None:
        with self._lock:
            if key in self._texts:
                self._texts.move_to_end(key)
            return self._texts.get(key)

    def put(self, key: object, text: str) -> None:
        with self._lock:
            self._size += len(text) - len(self._texts.pop(key, ""))
            self._texts[key] = text
            while self._size > self._most:
                _, gone = self._texts.popitem(last=False)
                self._size -= len(gone)
