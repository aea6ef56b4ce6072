"""Values that are asked for at a scrape: once for many, and never waited for."""

from __future__ import annotations

import threading
from pathlib import Path

from service.state import new_metrics
from telemetry.metrics import Cached, FreeSpace, Named
from telemetry.worker_metrics import WorkerMetrics


def test_many_who_ask_at_once_cost_one_question() -> None:
    asked: list[int] = []
    together = threading.Barrier(20)
    cached = Cached(lambda: asked.append(1) or len(asked), keep_seconds=60)
    found: list[int | None] = []

    def ask() -> None:
        together.wait()
        found.append(cached.get())

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 20


def test_what_hangs_is_not_waited_for_and_asked_by_one_thread() -> None:
    released, asked = threading.Event(), []
    cached = Cached(lambda: asked.append(1) or released.wait(30), keep_seconds=60, wait_seconds=0.01)
    assert [cached.get() for _ in range(5)] == [None] * 5
    assert asked == [1]
    released.set()
    patient = Cached(lambda: True)
    assert patient.get() is True


def test_what_fails_is_asked_again() -> None:
    answers = [OSError("away"), 7]

    def read() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    cached = Cached(read)
    assert (cached.get(), cached.get(), cached.get()) == (None, 7, 7)


def test_the_room_on_a_disk_is_told_for_a_folder_that_is_not_made_yet(tmp_path: Path) -> None:
    free, size = FreeSpace({"data": tmp_path / "not" / "yet"}).collect()
    assert 0 < free.samples[0].value < size.samples[0].value
    assert free.samples[0].labels == {"folder": "data"}


def test_what_is_counted_begins_at_nothing_so_that_the_first_is_an_increase() -> None:
    worker = WorkerMetrics("1", ["stalled"], {}, lambda: 2).text().decode()
    assert 'layercut_job_failures_total{code="stalled"} 0.0' in worker
    assert 'layercut_attempts_total{outcome="failed"} 0.0' in worker
    assert "layercut_worker_stuck_loops 2.0" in worker
    gateway = new_metrics().text().decode()
    for became in ("requeued", "exhausted", "cancelled", "timed_out"):
        assert f'layercut_reaped_jobs_total{{became="{became}"}} 0.0' in gateway


def test_a_strangers_word_becomes_no_label() -> None:
    assert Named(["known"])("known") == "known"
    metrics = WorkerMetrics("1", ["timeout"], {})
    for code in ("timeout", "made up by a runner", "and another"):
        metrics.count_failure(code)
    text = metrics.text().decode()
    assert 'layercut_job_failures_total{code="timeout"} 1.0' in text
    assert 'layercut_job_failures_total{code="other"} 2.0' in text
    assert "made up" not in text
