"""What both processes' metrics stand on: a registry of their own, one text of all, values that are read at a scrape.

Labels are of a few known values each: never an id, a tenant, a path or a text of somebody's.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, ProcessCollector, generate_latest
from prometheus_client import disable_created_metrics as _disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE_LATEST", "Cached", "FreeSpace", "Named", "gauges", "new_registry", "text_of"]

# A series more for each counter, which nobody reads.
_disable_created_metrics()  # type: ignore[no-untyped-call]

#: Stands for any value of a label that is in no table of ours.
OTHER = "other"

Value = TypeVar("Value")


def new_registry(version: str) -> CollectorRegistry:
    """A process's own, with what the system knows of the process, and ``layercut_build_info``."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    Gauge("layercut_build_info", "The version that runs, always 1", ["version"], registry=registry).labels(version).set(
        1
    )
    return registry


def text_of(registry: CollectorRegistry) -> bytes:
    """All of it, as Prometheus reads it (``CONTENT_TYPE_LATEST``)."""
    return generate_latest(registry)


class Named:
    """Turns values into labels: those that are ``known``, and ``OTHER``."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = frozenset(known)

    def __call__(self, value: str) -> str:
        return value if value in self._known else OTHER


def gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    """One gauge with a series for each of ``values``."""
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


class Cached(Generic[Value]):
    """What ``read`` answers, asked again after ``keep_seconds`` by one thread at a time, however many want it.

    Nobody waits for longer than ``wait_seconds``: where it hangs or fails, there is no value.
    """

    def __init__(self, read: Callable[[], Value], *, keep_seconds: float = 5.0, wait_seconds: float = 1.5) -> None:
        self._read, self._keep, self._wait = read, keep_seconds, wait_seconds
        self._change = threading.Condition()
        self._value: Value | None = None
        self._read_at = float("-inf")
        self._reading = False

    def get(self) -> Value | None:
        """The value; None where there is none to be had now."""
        with self._change:
            if time.monotonic() - self._read_at > self._keep:
                self._value = None
                if not self._reading:
                    self._reading = True
                    threading.Thread(target=self._refresh, name="metrics", daemon=True).start()
                self._change.wait_for(lambda: not self._reading, self._wait)
            return self._value

    def _refresh(self) -> None:
        value: Value | None = None
        # Whatever is away raises anything; that there is no value says it.
        with suppress(Exception):
            value = self._read()
        with self._change:
            self._value, self._reading = value, False
            # What failed is asked again by the next who wants it.
            self._read_at = float("-inf") if value is None else time.monotonic()
            self._change.notify_all()


class FreeSpace(Collector):
    """Room and size of the disks that folders lie on, by what the folders are for."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._disks = {what: Cached(partial(_usage, path)) for what, path in folders.items()}

    def collect(self) -> Iterable[Metric]:
        found = {what: usage for what, disk in self._disks.items() if (usage := disk.get()) is not None}
        free = {what: float(usage[0]) for what, usage in found.items()}
        size = {what: float(usage[1]) for what, usage in found.items()}
        yield gauges("layercut_disk_free_bytes", "Room left on the disk of a folder", "folder", free)
        yield gauges("layercut_disk_size_bytes", "Size of the disk of a folder", "folder", size)


def _usage(path: Path) -> tuple[int, int]:
    """Free bytes and all bytes; of a folder that is not made yet, those of the nearest above it."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    usage = shutil.disk_usage(there)
    return usage.free, usage.total
