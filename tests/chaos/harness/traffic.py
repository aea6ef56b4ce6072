"""Requests as a careful client sends them, and what of the answers breaks the promises."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

#: No request may take longer.
HANG_SECONDS = 10.0
#: For how long after a fault its effects are excused: a process that is started again has to come up.
GRACE_SECONDS = 12.0
#: Which faults excuse a 503 or a 507.
AWAY = frozenset({"database", "store", "disk"})


@dataclass
class Windows:
    """When which kind of fault was there."""

    spans: list[tuple[str, float, float]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _open: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def during(self, touches: frozenset[str]) -> Iterator[None]:
        began = time.monotonic()
        mine = [(what, began) for what in touches]
        with self._lock:
            self._open += mine
        try:
            yield
        finally:
            with self._lock:
                self._open = [entry for entry in self._open if entry not in mine]
                self.spans += [(what, began, time.monotonic()) for what in touches]

    def touched(self, what: frozenset[str], start: float, end: float) -> bool:
        """Whether anything of ``what`` was faulty between, or lately before."""
        with self._lock:
            ended = any(
                name in what and begun < end and until + GRACE_SECONDS > start for name, begun, until in self.spans
            )
            return ended or any(name in what and begun < end for name, begun in self._open)


class Traffic:
    """Sends requests, counts answers, and keeps what is wrong with them. Thread-safe."""

    def __init__(self, urls: list[str], windows: Windows) -> None:
        self.urls = urls
        self._clients = [httpx.Client(base_url=url, trust_env=False, timeout=HANG_SECONDS) for url in urls]
        self._windows = windows
        self._lock = threading.Lock()
        self.answers: Counter[str] = Counter()
        self.slowest = 0.0
        #: By kind: `answered 500`, `hung`, `away without a reason`.
        self.wrong: dict[str, list[str]] = {"500": [], "hung": [], "503": []}

    def ask(self, method: str, path: str, *, gateway: int = 0, **sent: Any) -> httpx.Response | None:
        """The answer; None where there was none, as of a gateway that is gone."""
        client = self._clients[gateway % len(self._clients)]
        began = time.monotonic()
        answer, error = None, ""
        try:
            answer = client.request(method, path, **sent)
        except httpx.TransportError as failed:
            error = type(failed).__name__
        self._judge(f"{method} {path}", began, answer, error)
        return answer

    def until_answered(
        self, method: str, path: str, *, gateway: int = 0, seconds: float = 120.0,
        seen: Callable[[], httpx.Response | None] = lambda: None, **sent: Any,
    ) -> httpx.Response | None:  # fmt: skip
        """Ask again, of the other gateway, while there is no answer or one that says later. ``seen`` finds out whether
        a request without an answer was carried out all the same.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            answer = self.ask(method, path, gateway=gateway, **sent)
            if answer is not None and answer.status_code < 500 and answer.status_code not in (408, 429):
                return answer
            gateway += 1
            time.sleep(0.3)
            if answer is None and (found := seen()) is not None:
                return found
        return None

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def _judge(self, what: str, began: float, answer: httpx.Response | None, error: str) -> None:
        ended = time.monotonic()
        told = f"{what}: {error or (answer and answer.status_code)} after {ended - began:.1f} s"
        with self._lock:
            self.answers[error or str(answer and answer.status_code)] += 1
            self.slowest = max(self.slowest, ended - began)
            if (kind := self._wrong(began, ended, answer, error)) is not None:
                body = answer.text[:300] if answer is not None else ""
                self.wrong[kind].append(f"{told} {body}")

    def _wrong(self, began: float, ended: float, answer: httpx.Response | None, error: str) -> str | None:
        if error == "ReadTimeout" or ended - began > HANG_SECONDS:
            # One that was stopped cannot answer.
            return None if self._windows.touched(frozenset({"gateway"}), began, ended) else "hung"
        if answer is None or answer.status_code < 500:
            return None
        if answer.status_code not in (503, 507):
            return "500"
        return None if self._windows.touched(AWAY, began, ended) else "503"
