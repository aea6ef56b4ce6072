"""One watcher of a job's events, who comes back with the last number that it saw, until it is told of the end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import httpx

TERMINAL = ("job.succeeded", "job.failed", "job.cancelled")
SILENCE_SECONDS = 40.0


def watch(urls: list[str], job_id: str, gateway: int, numbers: list[int], patient: Callable[[], bool]) -> None:
    """Add the ``numbers`` of the events as they come, up to the terminal one, or while ``patient`` says so."""
    while patient():
        try:
            for number, kind in _stream(urls[gateway % len(urls)], job_id, numbers[-1] if numbers else 0, patient):
                numbers.append(number)
                if kind in TERMINAL:
                    return
        except httpx.TransportError:
            gateway += 1
        time.sleep(0.5)


def _stream(url: str, job_id: str, after: int, patient: Callable[[], bool]) -> Iterator[tuple[int, str]]:
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
    with (
        httpx.Client(base_url=url, trust_env=False, timeout=SILENCE_SECONDS) as client,
        client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer,
    ):
        if answer.status_code != httpx.codes.OK:
            return
        for line in answer.iter_lines():
            if not patient():
                return
            if line.startswith("data:"):
                event = json.loads(line.removeprefix("data:"))
                yield event["number"], event["type"]
