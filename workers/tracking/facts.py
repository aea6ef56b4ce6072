"""What a tracked run says of a job: names and numbers, flat. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from api_schemas.delivered import Delivered
from api_schemas.reports import Latency, Measurements, Report
from api_schemas.resolved import ResolvedRequest

#: Of a value, in characters: what older servers of MLflow keep of one.
LONGEST_VALUE = 500
#: Of the resolved request, told otherwise: as tags, as the layers alone, as the earlier job alone; or no part of it.
NOT_PARAMS: dict[str, Any] = {
    **dict.fromkeys(("metadata", "plan", "delivered", "start", "reused", "device", "limits", "priority"), True),
    "model": {"must_resolve"},
}
#: What leaves nothing to know.
OPEN: tuple[Any, ...] = (None, "auto", [], {})


def params_of(resolved: ResolvedRequest) -> dict[str, str]:
    """The resolved request by dotted names, as far as it is decided."""
    sent = resolved.model_dump(mode="json", exclude=NOT_PARAMS)
    plan, earlier = resolved.plan, {"delivered": resolved.delivered, "start": resolved.start}
    if plan is not None and plan.dropped is not None:
        sent["layers"] = {"total": plan.layers_total, "kept": plan.kept, "dropped": plan.dropped}
    sent["from"] = {name: one.job for name, one in earlier.items() if isinstance(one, Delivered)}
    return {name: _text(value) for name, value in _flat(sent) if value not in OPEN}


def metrics_of(report: Report) -> dict[str, float]:
    """All numbers of the report that people compare jobs by, by names with slashes."""
    found: dict[str, float | None] = {
        "retention": report.retention,
        "speedup": report.speedup,
        "layers/total": report.layers.total,
        "layers/kept": len(report.layers.kept),
        "peak_memory_bytes": report.peak_memory_bytes,
        **{f"seconds/{stage}": seconds for stage, seconds in report.timings.items()},
    }
    for side, measured in (("before", report.before), ("after", report.after)):
        found |= {f"{side}/{name}": value for name, value in _measured(measured)}
    for interval, name in ((report.retention_interval, "retention"), (report.gain_interval, "gain")):
        if interval is not None:
            found |= {f"{name}/low": interval.low, f"{name}/high": interval.high}
    for training, numbers in report.training.items():
        name = training.replace(", seed ", "/seed_")
        found |= {f"{name}/{key}": getattr(numbers, key) for key in ("steps", "examples_per_second", "best_score")}
    return finite(found)


def curve_of(report: Report) -> dict[int, dict[str, float]]:
    """Of `auto`, what each size has that was tried, by the number of layers that go."""
    points = report.search.curve if report.search else []
    names = ("retention", "score", "parameters")
    return {one.drop: finite({f"search/{name}": getattr(one, name) for name in names}) for one in points}


def finite(values: Mapping[str, float | None]) -> dict[str, float]:
    """``values`` without those that are not there, or no number."""
    return {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}


def _measured(side: Measurements) -> Iterator[tuple[str, float | None]]:
    yield from {"parameters": side.parameters, "bytes": side.bytes, "flops": side.flops, "score": side.score}.items()
    yield from side.metrics.items()
    for cell in side.latency:
        yield from _cell(cell)


def _cell(cell: Latency) -> Iterator[tuple[str, float]]:
    where = f"batch_{cell.batch_size}_tokens_{cell.sequence_length}"
    yield f"latency_p50_ms/{where}", cell.p50_ms
    yield f"latency_p95_ms/{where}", cell.p95_ms
    yield f"examples_per_second/{where}", cell.examples_per_second


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        yield name, value
        return
    for key, inner in value.items():
        yield from _flat(inner, f"{name}.{key}" if name else str(key))


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
