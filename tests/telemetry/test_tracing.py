"""Spans that leave the process, and those that do not: off, away, hostile."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from telemetry.tracing import FLUSH_SECONDS, Tracing, read_traceparent, trace_id_of
from tests.support.otlp import Receiver, otlp_receiver

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with otlp_receiver() as received:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.url)
        yield received


@pytest.mark.parametrize(
    ("header", "read"),
    [
        (SENT, SENT),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        (f"cc-{TRACE}-{SPAN}-01-what-later-versions-add", SENT),
        ("", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{32 * '0'}-{SPAN}-01", None),
        (f"00-{TRACE}-{16 * '0'}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}-01\n", None),
        (f"00-{TRACE}-{SPAN}-01-{'x' * 300}", None),
        ("00-'; DROP TABLE jobs; --", None),
    ],
)
def test_a_traceparent_is_read_and_what_is_none_is_ignored(header: str, read: str | None) -> None:
    assert read_traceparent(header) == read


def test_spans_of_one_trace_arrive_beneath_each_other(receiver: Receiver) -> None:
    tracing = Tracing("test", "1")
    with tracing.span("outer", SENT, {"number": 1}) as outer, tracing.span("inner", outer.traceparent):
        pass
    with pytest.raises(ValueError, match="a customer's text"), tracing.span("broken", SENT):
        raise ValueError("a customer's text")
    tracing.close()
    spans = receiver.of(TRACE)
    assert spans["outer"].parent_id == SPAN
    assert spans["inner"].parent_id == spans["outer"].span_id
    assert spans["outer"].attributes == {"number": 1}
    assert spans["broken"].failed
    assert "customer" not in repr(spans)


def test_what_a_caller_does_not_record_is_not_recorded(receiver: Receiver) -> None:
    tracing = Tracing("test", "1")
    with tracing.span("outer", f"00-{TRACE}-{SPAN}-00") as span:
        assert span.traceparent is not None
        assert trace_id_of(span.traceparent) == TRACE
        assert span.traceparent.endswith("-00")
    tracing.close()
    assert receiver.spans == []


@pytest.mark.parametrize(
    "setting", [{}, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}], ids=["unset", "disabled", "none"]
)
def test_off_it_hands_on_its_parent_and_imports_nothing(setting: dict[str, str]) -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"} if setting else {}
    program = (
        "import sys; from telemetry.tracing import Tracing\n"
        "with Tracing('x', '1').span('a', 'parent') as span: assert span.traceparent == 'parent'\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    environment = {"PYTHONPATH": ":".join(sys.path), **endpoint, **setting}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)


def test_a_receiver_that_never_answers_delays_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        tracing = Tracing("test", "1")
        began = time.monotonic()
        for _ in range(5000):  # more than its queue holds
            tracing.start("lost").end()
        spent, began = time.monotonic() - began, time.monotonic()
        tracing.close()
        assert time.monotonic() - began < FLUSH_SECONDS + 5
        assert spent < 20
