"""A job that is watched while connections are cut and the gateway starts again: each event comes once."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api_schemas.event_types import EventType
from api_schemas.events import Event
from api_schemas.jobs import Status
from layercut.client import Client, InvalidAnswer, LayercutApiError, WaitTimeout
from layercut.client.event_stream import EventStream, Message
from layercut.client.retries import Patience
from store.jobs import Claim
from tests.support.cut_proxy import CutProxy
from tests.support.events import say
from tests.support.gateway_worker import claim, succeed
from tests.support.live_gateway import LiveGateway, live_gateway
from tests.support.played_service import Heard, Said, played_service


def claimed(gateway: LiveGateway, client: Client) -> Claim:
    """A job that the test works on."""
    job = client.submit(gateway.body(priority=100))
    taken = claim(gateway.state)
    assert taken.lease.job_id == job.id
    return taken


def log(gateway: LiveGateway, taken: Claim, *texts: str) -> None:
    for text in texts:
        gateway.state.store.record(taken.lease, say(EventType.LOG, text))


def say_in_log(gateway: LiveGateway, taken: Claim, text: str) -> None:
    store = gateway.state.store
    store.write_log(taken.lease, text, store.log_end(taken.lease), keep=2**20)


def test_events_are_typed_and_come_to_the_last(client: Client, gateway: LiveGateway, tmp_path: Path) -> None:
    taken = claimed(gateway, client)
    log(gateway, taken, "one", "two")
    succeed(gateway.state, taken, tmp_path)
    events = list(client.events(taken.lease.job_id))
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert [event.message for event in events if event.type == EventType.LOG] == ["one", "two"]
    assert events[-1].type == EventType.SUCCEEDED
    assert events[-1].data.result.layers_dropped == [4, 5]
    assert [event.number for event in client.events(taken.lease.job_id, after=2)] == [e.number for e in events[2:]]


def test_events_over_connections_that_break(far: Client, proxy: CutProxy, gateway: LiveGateway, tmp_path: Path) -> None:
    taken = claimed(gateway, far)
    seen: list[Event] = []
    # In the middle of a head, of an event, and of a line.
    proxy.cut_after(40, 700, 1300)
    proxy.cut()
    events = far.events(taken.lease.job_id)
    for number in range(20):
        log(gateway, taken, f"line {number}")
        if number % 5 == 4:
            seen += _until(events, f"line {number}")
            proxy.cut()
    succeed(gateway.state, taken, tmp_path)
    seen += list(events)
    assert [event.number for event in seen] == list(range(1, len(seen) + 1))
    assert [event.message for event in seen if event.type == EventType.LOG] == [f"line {n}" for n in range(20)]
    assert seen[-1].type == EventType.SUCCEEDED
    assert proxy.connections >= 7


def _until(events: Iterator[Event], message: str) -> Iterator[Event]:
    for event in events:
        yield event
        if event.message == message:
            return


def test_whoever_stops_reading_leaves_no_connection_behind(client: Client, gateway: LiveGateway) -> None:
    taken = claimed(gateway, client)
    events = client.events(taken.lease.job_id)
    assert next(events).type == EventType.QUEUED
    events.close()  # type: ignore[attr-defined]
    pool = client._http._transport._pool  # type: ignore[attr-defined]
    assert not any(connection.is_available() is False and not connection.is_idle() for connection in pool.connections)
    client.cancel(taken.lease.job_id)


def test_a_log_is_followed_over_a_cut(far: Client, proxy: CutProxy, gateway: LiveGateway, tmp_path: Path) -> None:
    taken = claimed(gateway, far)
    say_in_log(gateway, taken, "first\n")
    assert "".join(piece.text for piece in far.logs(taken.lease.job_id)) == "first\n"
    pieces = far.logs(taken.lease.job_id, follow=True)
    assert next(pieces).text == "first\n"
    proxy.cut()
    say_in_log(gateway, taken, "second\n")
    assert next(pieces).text == "second\n"
    succeed(gateway.state, taken, tmp_path)
    assert list(pieces) == []
    assert "".join(piece.text for piece in far.logs(taken.lease.job_id, offset=6)) == "second\n"


def test_wait_returns_when_the_job_has_ended(
    far: Client, proxy: CutProxy, gateway: LiveGateway, tmp_path: Path
) -> None:
    taken = claimed(gateway, far)
    with pytest.raises(WaitTimeout) as late:
        far.wait(taken.lease.job_id, timeout=0.1)
    assert late.value.job.status is Status.RUNNING
    ends = threading.Timer(0.5, lambda: (proxy.cut(), succeed(gateway.state, taken, tmp_path)))
    ends.start()
    assert far.wait(taken.lease.job_id, timeout=60).status is Status.SUCCEEDED
    ends.join()


def test_a_stream_that_never_falls_silent_has_an_end_too(far: Client, gateway: LiveGateway) -> None:
    taken = claimed(gateway, far)
    told = (log(gateway, taken, "something new each time") for _ in far.events(taken.lease.job_id, timeout=1.0))
    with pytest.raises(WaitTimeout, match="is running after"):
        deque(told, maxlen=0)


def test_a_job_that_has_ended_is_no_timeout(
    client: Client, gateway: LiveGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, now = claimed(gateway, client), [0.0]
    monkeypatch.setattr(Patience, "clock", staticmethod(lambda: now[0]))
    seen = []
    for event in client.events(taken.lease.job_id, timeout=10):
        if not seen:  # it ends, and the time with it
            succeed(gateway.state, taken, tmp_path)
            now[0] = 100.0
        seen.append(event.type)
    assert seen[-1] == EventType.SUCCEEDED
    assert list(client.events(taken.lease.job_id, timeout=0)) == list(client.events(taken.lease.job_id))


def test_a_gateway_that_starts_again_is_waited_for(tmp_path: Path) -> None:
    with live_gateway(tmp_path) as gateway, Client(gateway.url) as client:
        taken = claimed(gateway, client)
        events = client.events(taken.lease.job_id)
        assert next(events).type == EventType.QUEUED
        waited = in_thread(lambda: client.wait(taken.lease.job_id))
        gateway.stop()
        gateway.start()
        succeed(gateway.state, taken, tmp_path / "made")
        assert list(events)[-1].type == EventType.SUCCEEDED
        assert waited().status is Status.SUCCEEDED


def in_thread(do: Callable[[], object]) -> Callable[[], object]:
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(do()))
    thread.start()

    def result() -> object:
        thread.join(60)
        return found[0]

    return result


def test_a_job_that_is_not_there_has_no_events(client: Client) -> None:
    with pytest.raises(LayercutApiError, match="job_not_found"):
        next(client.events("job_000000000000000000000000"))


EVENT = {"number": 1, "job_id": "job_1", "attempt": 1, "created_at": "2026-01-01T00:00:00Z", "message": "m", "data": {}}


def _told(*texts: str) -> Callable[[Heard], Said]:
    """A service whose stream says that, and has nothing more after it."""

    def answer(heard: Heard) -> Said:
        if heard.headers["last-event-id"] != "0":
            return Said(204)
        return Said(200, "".join(texts).encode(), {"Content-Type": "text/event-stream"})

    return answer


def test_an_event_of_a_later_version_is_passed_over() -> None:
    later = json.dumps({**EVENT, "type": "job.reconsidered"})
    known = json.dumps({**EVENT, "type": "job.queued", "number": 2, "more": True})
    said = _told(f"id: 1\ndata: {later}\n\n", f"id: 2\ndata: {known}\n\n")
    with played_service(said) as service, Client(service.url) as client:
        assert [event.number for event in client.events("job_1")] == [2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id: x\ndata: {}\n\n", "whose id is 'x', not a number"),
        ("id: 1\ndata: {\n\n", "message 1 is none of this version"),
        ('id: 1\ndata: {"type": "job.queued"}\n\n', "message 1 is none of this version"),
        ("data: " + 5000 * "x", "does not end"),
        (200 * "data: xxxxxxxxxxxxx\n", "does not end"),
    ],
)
def test_a_stream_of_another_kind_is_refused(text: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layercut.client.event_stream.LONGEST", 1000)
    with (
        played_service(_told(text)) as service,
        Client(service.url) as client,
        pytest.raises(InvalidAnswer, match=said),
    ):
        list(client.events("job_1"))


STREAM = (
    b": a comment\r\nretry: 2000\n\nid: 1\ndata: one\ndata:  two\n\nevent: e\rid: 2\rdata: \xc3\xa9\r\r"
    b"id: 3\n\ndata\r\n\r\nid\ndata:x\n\ndata: never ended\n"
)
MESSAGES = [Message("1", "one\n two"), Message("2", "é"), Message("3", ""), Message("", "x")]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_messages_are_the_same_wherever_the_bytes_are_cut(size: int) -> None:
    stream = EventStream()
    blocks = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert [message for block in blocks for message in stream.feed(block)] == MESSAGES
