"""Traces, by OpenTelemetry over OTLP/HTTP: on where its own variables name a receiver, else not even imported.

A span is handed on as its W3C ``traceparent``: in a header, in a job's row, from thread to thread.
"""

# ruff: noqa: PLC0415 - OpenTelemetry is imported where tracing is on: it is nothing to a process without traces

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

#: Spans that wait are sent for so long when a process ends; what is left then is lost.
FLUSH_SECONDS = 2.0

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

#: Of version 00; of a later one, the part that it has in common.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?:-.{0,200})?")

Attributes = Mapping[str, str | int | float | bool]


def read_traceparent(header: str) -> str | None:
    """The ``traceparent`` that a caller sent, in the form of version 00; None for what is none."""
    found = _TRACEPARENT.fullmatch(header) if len(header) <= 300 else None
    return None if found is None else f"00-{found[1]}"


def trace_id_of(traceparent: str) -> str:
    return traceparent.split("-")[1]


class Span:
    """One that has begun. Where tracing is off it is nothing, and its ``traceparent`` that of its parent."""

    def __init__(self, traceparent: str | None, span: Any = None) -> None:
        self.traceparent, self._span = traceparent, span

    def end(self, attributes: Attributes | None = None, *, name: str | None = None, error: str | None = None) -> None:
        """``error`` says what went wrong, where it did."""
        if self._span is None:
            return
        self._span.set_attributes(attributes or {})
        if name is not None:
            self._span.update_name(name)
        if error is not None:
            from opentelemetry.trace import StatusCode

            self._span.set_status(StatusCode.ERROR, error)
        self._span.end()


class Tracing:
    """Of one process. Nothing here fails or waits for a receiver that is away: what does not fit its queue is lost."""

    def __init__(self, service: str, version: str) -> None:
        self._provider = _provider(service, version) if _wanted() else None
        self._tracer = self._provider.get_tracer("layercut", version) if self._provider else None

    @property
    def on(self) -> bool:
        return self._tracer is not None

    def start(
        self, name: str, parent: str | None = None, attributes: Attributes | None = None, *, server: bool = False
    ) -> Span:
        """Begin a span beneath ``parent``, or a trace where that is None. Whoever asks for it ends it."""
        if self._tracer is None:
            return Span(parent)
        from opentelemetry.trace import SpanKind

        kind = SpanKind.SERVER if server else SpanKind.INTERNAL
        span = self._tracer.start_span(name, _context(parent), kind, attributes)
        at = span.get_span_context()
        return Span(f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}", span)

    @contextmanager
    def span(self, name: str, parent: str | None = None, attributes: Attributes | None = None) -> Iterator[Span]:
        """A span around a block; what the block raises is noted by its type alone, and passes."""
        span = self.start(name, parent, attributes)
        try:
            yield span
        except BaseException as error:
            span.end(error=type(error).__name__)
            raise
        span.end()

    def close(self) -> None:
        """Send what waits, for ``FLUSH_SECONDS`` at most."""
        if self._provider is None:
            return
        # Its own shutdown waits for half a minute.
        flushing = threading.Thread(target=self._provider.shutdown, name="flush-traces", daemon=True)
        flushing.start()
        flushing.join(FLUSH_SECONDS)


def _wanted() -> bool:
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    other = os.environ.get("OTEL_TRACES_EXPORTER", "otlp") not in ("", "otlp")
    return any(os.environ.get(name) for name in ENDPOINTS) and not disabled and not other


def _provider(service: str, version: str) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    about = {"service.name": os.environ.get("OTEL_SERVICE_NAME") or service, "service.version": version}
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _context(parent: str | None) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    # Never the thread's own: a span belongs where its caller says.
    return TraceContextTextMapPropagator().extract({"traceparent": parent} if parent else {}, Context())
