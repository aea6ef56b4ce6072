"""What a gateway counts, by name. What the database knows is asked at a scrape, for all gateways alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from telemetry.metrics import Cached, FreeSpace, Named, gauges, new_registry, text_of

METHODS = Named(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
#: The route of an address that nobody serves.
UNKNOWN_ROUTE = "unknown"
HTTP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)

#: How a webhook delivery can end.
DELIVERY_OUTCOMES = ("delivered", "retried", "failed", "disabled")
UPLOAD_KINDS = ("dataset", "model")


@dataclass(frozen=True)
class Census:
    """What the database says of all jobs and workers at one moment."""

    jobs: Mapping[str, int] = field(default_factory=dict)
    running: int = 0
    queued: int = 0
    queue_oldest_seconds: float = 0.0
    failed_of_a_day: Mapping[str, int] = field(default_factory=dict)
    workers: Mapping[str, int] = field(default_factory=dict)
    deliveries_due: int = 0


class GatewayMetrics:
    """Of one gateway process. Thread-safe, but for the requests: those are counted by the event loop."""

    def __init__(self, version: str, reaped: Iterable[str] = ()) -> None:
        """``reaped``: what a job that the reaper took in hand may become."""
        self.registry = new_registry(version)
        self._requests = Counter(
            "layercut_http_requests_total", "Requests that were answered", ["method", "route", "status"],
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "layercut_http_request_duration_seconds", "From the head of a request to the end of its answer",
            ["method", "route"], buckets=HTTP_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._series: dict[tuple[str, str | None, int], tuple[Counter, Histogram]] = {}
        #: Of the event loop's thread alone: a number that is read at a scrape costs a request the least.
        self._in_flight = 0
        in_flight = Gauge(
            "layercut_http_requests_in_flight", "Requests that are being answered, streams too", registry=self.registry
        )
        in_flight.set_function(lambda: self._in_flight)
        self._wakeups = Counter(
            "layercut_wakeups_total", "Wake-ups sent to the broker, and dropped as it was away", ["outcome"],
            registry=self.registry,
        )  # fmt: skip
        self._reaped = Counter(
            "layercut_reaped_jobs_total", "Jobs that the reaper took back or ended, by what they became", ["became"],
            registry=self.registry,
        )  # fmt: skip
        self._deliveries = Counter(
            "layercut_webhook_deliveries_total", "Attempts to deliver a webhook message", ["outcome"],
            registry=self.registry,
        )  # fmt: skip
        self._uploads = Counter(
            "layercut_uploads_total", "Uploads that became ready, or were refused for what is in them",
            ["kind", "outcome"], registry=self.registry,
        )  # fmt: skip
        self._upload_bytes = Counter(
            "layercut_upload_bytes_total", "Of uploads that became ready", ["kind"], registry=self.registry
        )
        # An increase is seen only from a number that was there before.
        for became in reaped:
            self._reaped.labels(became)
        for outcome in DELIVERY_OUTCOMES:
            self._deliveries.labels(outcome)
        for outcome in ("sent", "dropped"):
            self._wakeups.labels(outcome)
        for kind in UPLOAD_KINDS:
            self._upload_bytes.labels(kind)
            for outcome in ("ready", "refused"):
                self._uploads.labels(kind, outcome)

    def begin_request(self) -> None:
        self._in_flight += 1

    def end_request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """``route`` is the template, as in ``/v1/jobs/{job_id}``; ``status`` is 0 where nobody was answered."""
        self._in_flight -= 1
        # Finding a series by its labels costs more than counting; there are few: routes, methods, statuses.
        series = self._series.get((method, route, status))
        if series is None:
            named, of = METHODS(method), route or UNKNOWN_ROUTE
            series = (self._requests.labels(named, of, str(status)), self._seconds.labels(named, of))
            if named == method:
                self._series[method, route, status] = series
        series[0].inc()
        series[1].observe(seconds)

    def count_wakeups(self, outcome: str, count: int = 1) -> None:
        self._wakeups.labels(outcome).inc(count)

    def count_reaped(self, became: str, count: int) -> None:
        self._reaped.labels(became).inc(count)

    def on_delivery(self, outcome: str) -> None:
        """One of ``DELIVERY_OUTCOMES``."""
        self._deliveries.labels(outcome).inc()

    def count_upload(self, kind: str, outcome: str, size: int = 0) -> None:
        """One of ``UPLOAD_KINDS``; ``ready`` with its bytes, or ``refused``."""
        self._uploads.labels(kind, outcome).inc()
        self._upload_bytes.labels(kind).inc(size)

    def watch(self, census: Callable[[], Census], streams: Callable[[], int], folders: Mapping[str, Path]) -> None:
        """Ask these at every scrape: the database, how many watch, the room on the disks of ``folders``."""
        self.registry.register(_CensusCollector(Cached(census)))
        self.registry.register(FreeSpace(folders))
        watching = Gauge("layercut_event_watchers", "Who watches jobs or waits for a change", registry=self.registry)
        watching.set_function(streams)

    def text(self) -> bytes:
        return text_of(self.registry)


class _CensusCollector(Collector):
    """The same from every gateway, so that a board takes the ``max`` of them; nothing where the database is away."""

    def __init__(self, census: Cached[Census]) -> None:
        self._census = census

    def collect(self) -> Iterable[Metric]:
        census = self._census.get()
        yield gauges("layercut_up", "Whether it answers", "what", {"database": float(census is not None)})
        if census is not None:
            yield gauges("layercut_jobs", "Jobs that are kept", "status", census.jobs)
            yield GaugeMetricFamily("layercut_queue_depth", "Jobs that wait", value=census.queued)
            yield GaugeMetricFamily(
                "layercut_queue_oldest_seconds", "How long the job at the queue's head has waited",
                value=census.queue_oldest_seconds,
            )  # fmt: skip
            yield GaugeMetricFamily("layercut_running_jobs", "Jobs that a worker holds", value=census.running)
            yield gauges(
                "layercut_failed_jobs", "Jobs that failed within a day, by their error", "code", census.failed_of_a_day
            )
            yield gauges("layercut_workers", "Workers that were heard of lately", "state", census.workers)
            yield GaugeMetricFamily(
                "layercut_webhook_deliveries_due", "Webhook messages that are not delivered yet",
                value=census.deliveries_due,
            )  # fmt: skip
