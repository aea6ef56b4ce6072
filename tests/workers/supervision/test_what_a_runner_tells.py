"""A runner that was taken over tells too much, too fast, or what is no event: what is kept of it is bounded."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from queue import Empty

import pytest

from api_schemas.errors import LONGEST_MESSAGE
from api_schemas.events import EventType
from api_schemas.jobs import Job, Status
from tests.support.processes import eventually
from tests.support.supervisor_rig import Rig, no_inputs
from workers.supervision import event_budget, lease_session
from workers.supervision.event_budget import BURST, LONGEST_GAP, PER_SECOND, Pace, progress_gap
from workers.supervision.inbox import Inbox


@pytest.fixture(autouse=True)
def _short_grace(rig: Rig) -> None:
    rig.settings.kill_grace_seconds = 0.2


def code(job: Job) -> str | None:
    return job.error.code if job.error else None


def told(rig: Rig, job: Job) -> list[str]:
    return [event.message for event in rig.events(job.id) if event.type == EventType.LOG]


def test_who_tells_faster_than_is_written_loses_some_and_is_told_how_many(rig: Rig) -> None:
    job = rig.run("flood:3000", "succeed")

    assert job.status == Status.SUCCEEDED
    logs = told(rig, job)
    assert len(logs) < BURST + lease_session.MOST_PENDING + 100
    left_out = [int(text.split()[0]) for text in logs if "left out" in text]
    lines = [int(text.split()[1]) for text in logs if text.startswith("line")]
    assert lines == sorted(lines)
    assert lines[-1] == 2999
    assert sum(left_out) == 3000 - len(lines) > 0


def test_who_tells_without_end_ends_the_job_for_good(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_budget, "MAX_EVENTS", 1000)
    job = rig.run("flood:1000000", "succeed")

    assert (job.status, code(job)) == (Status.FAILED, "too_many_events")
    assert job.error is not None
    assert not job.error.retryable
    assert "more than 1000 events" in job.error.message
    assert job.attempt == 1
    assert len(rig.events(job.id)) < 600


def test_few_events_that_are_large_together_end_the_job_too(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_budget, "MAX_BYTES", 100_000)
    assert code(rig.run(*["large:20000"] * 6, "succeed")) == "too_many_events"


def test_thousands_of_progress_are_no_trouble(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_budget, "MAX_EVENTS", 10)
    job = rig.run("stage:baseline", "many:5000", "log:done", "succeed")

    assert job.status == Status.SUCCEEDED
    assert told(rig, job) == ["done"]


def test_a_line_without_end_ends_the_job(rig: Rig) -> None:
    job = rig.run("endless:6", "linger")

    assert (job.status, code(job)) == (Status.FAILED, "too_many_events")
    assert job.error is not None
    assert "a line of more than 4194304 characters" in job.error.message


def test_an_event_that_is_too_large_is_not_kept_and_a_long_message_is_cut(rig: Rig) -> None:
    job = rig.run("large:1000000", "log:small", "long:100000", "succeed")

    assert job.status == Status.SUCCEEDED
    small, long = told(rig, job)
    assert small == "small"
    assert len(long) == LONGEST_MESSAGE + 1


@pytest.mark.parametrize(
    "said",
    [
        "deep:1000",
        "deep:1000000",
        'say:{"type":"job.metric","message":"m","data":{"name":"x","value":NaN,"side":"after"}}',
        'say:{"type":"job.progress","message":"m","data":{"fraction":0.5,"eta_seconds":1e999}}',
        f'say:{{"type":"job.progress","message":"m","data":{{"step":{"9" * 300}{"9" * 50}}}}}',
    ],
)
def test_what_no_reader_could_take_is_no_event(rig: Rig, said: str) -> None:
    job = rig.run(said, "log:after", "succeed")

    assert job.status == Status.SUCCEEDED
    assert told(rig, job) == ["after"]
    assert rig.store.list()


def test_a_request_that_breaks_its_own_rules_is_no_event(rig: Rig) -> None:
    """The rules of a request raise what HTTP answers with, and not what a reader of JSON expects."""
    job = rig.run('say:{"type":"job.resolved","message":"m","data":{"evaluation":{"seeds":[1,1]}}}', "log:a", "succeed")
    assert (job.status, told(rig, job)) == (Status.SUCCEEDED, ["a"])


@pytest.mark.parametrize("ending", ["numbers:1000", "numbers:30000"])
def test_an_ending_with_too_much_in_it_is_no_success(rig: Rig, ending: str) -> None:
    job = rig.run(ending, max_attempts=1)

    assert (job.status, code(job)) == (Status.FAILED, "internal")
    assert job.error is not None
    assert len(job.error.message) <= LONGEST_MESSAGE + 100


def test_one_that_tells_all_the_time_can_be_cancelled(rig: Rig) -> None:
    job_id = rig.submit("many:1000000", "linger")
    thread = rig.start()
    eventually(lambda: "job.progress" in rig.texts(job_id))
    rig.store.cancel(job_id)
    thread.join(20)

    assert rig.store.get(job_id).status == Status.CANCELLED


def test_what_it_says_beside_events_does_not_fill_our_log(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("workers.supervision.runner_process.LOGGED_LINES", 2)
    assert rig.run("say:one", "say:two", "say:three", "say:four", "succeed").status == Status.SUCCEEDED
    assert "two" in caplog.text
    assert "three" not in caplog.text
    assert caplog.text.count("no more of them are logged") == 1


def test_a_runner_waits_while_nobody_takes_what_it_tells(rig: Rig, tmp_path: Path) -> None:
    """Neither the inbox nor a list of pending events grows: the pipe is full, and the runner stands still."""
    runner = rig.supervisor._warm
    runner.prepare()
    process = runner.take()
    try:
        job_file = {"request": {"metadata": {"acts": f"flood:100000 touch:{tmp_path}/done linger"}}}
        process.job_file.write_text(json.dumps(job_file))
        process.give(no_inputs(None, process.scratch.inputs, lambda: False), 60)  # type: ignore[arg-type]
        eventually(lambda: process.inbox._items.qsize() == 8)
        assert not (tmp_path / "done").exists()
        for _ in range(50):
            process.inbox.get(timeout=10)
        assert process.inbox._items.qsize() <= 8
        assert not (tmp_path / "done").exists()
    finally:
        process.dispose()


def test_who_waits_for_room_is_let_go_when_the_inbox_closes() -> None:
    inbox = Inbox(capacity=1)
    inbox.offer("first")
    late = threading.Thread(target=lambda: [inbox.offer("lost") for _ in range(3)], daemon=True)
    late.start()
    inbox.put("never waits")
    inbox.close()
    late.join(20)

    assert not late.is_alive()
    assert [inbox.get(), inbox.get()] == ["first", "never waits"]
    with pytest.raises(Empty):
        inbox.get(timeout=0)


def test_a_burst_is_written_at_once_and_the_rest_at_a_rate() -> None:
    pace, now = Pace(), 1000.0
    for _ in range(BURST):
        assert pace.next <= now + 1e-6
        pace.spend(now)
    assert now < pace.next <= now + 1 / PER_SECOND + 1e-6
    pace.spend(now := now + 3600)
    assert pace.next <= now, "who was quiet may be quick again"


def test_a_week_of_progress_is_bounded() -> None:
    age, count = 0.0, 0
    while age < 7 * 24 * 3600:
        age += max(0.5, progress_gap(age))
        count += 1
    assert count < 70_000
    assert progress_gap(60) < 0.5
    assert progress_gap(7 * 24 * 3600) == LONGEST_GAP
