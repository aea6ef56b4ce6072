"""What the demo tells somebody who reads it in a log, without a terminal."""

from __future__ import annotations

import io
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, TextIO

import httpx
import pytest
from rich.console import Console
from show import SILENCE_SECONDS, Bar, Heartbeat, events, follow, view_of

LONGEST_SILENCE = 10.0
STEPS = 160


def event(kind: str, message: str = "", **data: Any) -> dict[str, Any]:
    return {"type": f"job.{kind}", "message": message, "number": 1, "data": data}


BEGINS = event("stage", "baseline", stage="baseline", skipped=False)
ENDS = event("succeeded", "kept [/] 99 %", result={})
#: Seconds after the one before it, and the event: four minutes of training in which only steps are told.
STORY = [
    (0.1, event("queued", "queued")),
    (25.0, BEGINS),
    *(
        (1.5, event("progress", "", fraction=n / 200, step=n, total_steps=STEPS, loss=1 / n, eta_seconds=300 - 1.5 * n))
        for n in range(1, STEPS + 1)
    ),
    (0.1, event("stage", "planning skipped", stage="planning", skipped=True)),
    (0.0, event("stage", "verifying", stage="verifying", skipped=False)),
    (40.0, ENDS),
]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Log(io.StringIO):
    """Notes at what time each line was written."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.times: list[float] = []

    def write(self, text: str) -> int:
        self.times += [self._clock()] * text.count("\n")
        return super().write(text)


def told(story: list[tuple[float, dict[str, Any]]]) -> tuple[list[str], list[float]]:
    """The lines of a story, and at what second each was written."""
    clock = Clock()
    log = Log(clock)
    view = Heartbeat(Console(file=log, width=120), clock)
    began = clock()

    def happening() -> Iterator[dict[str, Any]]:
        for seconds, happened in story:
            due = clock.now + seconds
            while clock.now < due:
                clock.now = min(due, clock.now + SILENCE_SECONDS / 10)
                view.beat()
            yield happened

    view.doing("starting the server")
    follow(view, happening())
    return log.getvalue().splitlines(), [time - began for time in log.times]


def test_a_log_is_never_silent_for_ten_seconds() -> None:
    lines, times = told(STORY)
    assert len(lines) == len(times)
    silences = [later - earlier for earlier, later in zip([0.0, *times], times, strict=False)]
    assert max(silences) <= LONGEST_SILENCE
    # Nor is it flooded by every step.
    assert len(lines) < 60


def test_between_the_events_stands_what_the_job_says_of_its_progress() -> None:
    lines, _ = told(STORY)
    trained = [line for line in lines if f"of {STEPS}" in line]
    assert all(
        re.search(r" s  \d+ %  2/11 baseline  step \d+ of 160  loss [\d.e-]+  about .* left$", line) for line in trained
    )
    assert len({line.split("step")[1] for line in trained}) == len(trained) > 20
    # What a finished stage had left is no news of the next one.
    assert any(line.endswith("s  80 %  10/11 verifying") for line in lines)
    assert not any("verifying" in line and "step" in line for line in lines)
    assert not any("planning  " in line for line in lines)


def test_what_an_event_says_is_no_markup() -> None:
    lines, _ = told(STORY)
    assert lines[-1].endswith("kept [/] 99 %")


def test_before_the_first_event_it_says_what_it_waits_for() -> None:
    lines, _ = told([(15.0, STORY[0][1])])
    assert "starting the server" in lines[0]


def test_a_terminal_has_the_live_bar() -> None:
    assert isinstance(view_of(Console(file=io.StringIO(), force_terminal=True)), Bar)
    assert isinstance(view_of(Console(file=io.StringIO())), Heartbeat)


@pytest.fixture
def pipe() -> Iterator[tuple[TextIO, TextIO]]:
    reading, writing = os.pipe()
    with os.fdopen(reading, encoding="utf-8") as reader, os.fdopen(writing, "w", encoding="utf-8") as writer:
        yield reader, writer


Send = Callable[[dict[str, Any]], object]


class Served:
    """A server of one event stream: ``stream`` gets what sends an event."""

    def __init__(self, stream: Callable[[Send], None]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                stream(lambda told: self.wfile.write(f"data: {json.dumps(told)}\n\n".encode()))

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.handle_request)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Served:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._server.server_close()


def test_a_job_that_says_nothing_is_told_of_over_a_pipe(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    beaten = threading.Event()
    lines: list[str] = []

    def read() -> None:
        for line in reader:
            lines.append(line)
            if "baseline" in line and "job.stage" not in line:
                beaten.set()
            if "job.succeeded" in line:
                return

    def stream(send: Send) -> None:
        send(BEGINS)
        # The job goes on only when the reader has a line that no event has caused.
        assert beaten.wait(30)
        send(ENDS)

    listener = threading.Thread(target=read)
    listener.start()
    client = httpx.Client(trust_env=False)
    with Served(stream) as served, client, Heartbeat(Console(file=writer), silence=0.05) as view:
        follow(view, events(client, f"{served.url}/events"))
    listener.join(30)
    assert beaten.is_set()
    assert "job.stage" in lines[0]
    assert "job.succeeded" in lines[-1]
