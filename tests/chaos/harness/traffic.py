"""Requests as a careful client sends them, and what of the answers breaks the promises."""

from __future__ import annotations

import re
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
GRACE_SECONDS = {"gateway": 12.0, "worker": 12.0, "restart": 12.0, "database": 8.0}
SHORT_GRACE_SECONDS = 3.0


@dataclass(frozen=True)
class Excuse:
    """A 503 or 507 of that ``code`` is right where something that the fault ``touches`` is away, on those ``calls``."""

    code: str
    touches: frozenset[str]
    calls: re.Pattern[str]


#: A full disk may keep SQLite from being written, and the store from being looked at.
EXCUSES = (
    Excuse("database_unavailable", frozenset({"database"}), re.compile("")),
    Excuse("too_busy", frozenset({"database"}), re.compile("")),
    Excuse(
        "storage_unavailable",
        frozenset({"store"}),
        re.compile(r"POST |GET /v1/jobs/[^/?]+/(files|download|report)"),
    ),
    Excuse("storage_full", frozenset({"disk"}), re.compile("POST |DELETE ")),
)


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
                name in what and begun < end and until + GRACE_SECONDS.get(name, SHORT_GRACE_SECONDS) > start
                for name, begun, until in self.spans
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
            if answer is not None and not _says_later(answer):
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
            if (kind := self._wrong(what, began, ended, answer, error)) is not None:
                body = answer.text[:300] if answer is not None else ""
                self.wrong[kind].append(f"{told} {body}")

    def _wrong(self, what: str, began: float, ended: float, answer: httpx.Response | None, error: str) -> str | None:
        if error == "ReadTimeout" or ended - began > HANG_SECONDS:
            # One that was stopped cannot answer.
            return None if self._windows.touched(frozenset({"gateway"}), began, ended) else "hung"
        if answer is None or answer.status_code < 500:
            return None
        if answer.status_code not in (503, 507):
            return "500"
        excused = any(self._windows.touched(touches, began, ended) for touches in excuses(what, answer))
        return None if excused else "503"


def _says_later(answer: httpx.Response) -> bool:
    """Also of one whose first request, of which nobody heard, holds its key for some time."""
    in_progress = answer.status_code == 409 and "retry-after" in answer.headers
    return answer.status_code >= 500 or answer.status_code in (408, 429) or in_progress


def excuses(call: str, answer: httpx.Response) -> list[frozenset[str]]:
    """What must be away for that ``answer`` to be right; nothing where it never is."""
    try:
        code = answer.json()["code"]
    except (ValueError, KeyError):
        return []
    return [excuse.touches for excuse in EXCUSES if excuse.code == code and excuse.calls.match(call)]
