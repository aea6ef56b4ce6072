"""Before and after, side by side: the lines of the table, and the strip of layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from api_schemas.jobs import Job, Result
from api_schemas.reports import Latency, Measurements, Report
from service.pages.words import NOTHING, duration, percent, score, short, size, times

#: Shades of a layer's importance, from none to the most; classes of site.css.
SHADES = 5


@dataclass(frozen=True)
class Line:
    name: str
    before: str
    after: str
    change: str
    note: str = ""


@dataclass(frozen=True)
class LayerMark:
    """``shade`` is 1 to ``SHADES`` where the importance was measured; 0 where it was not."""

    number: int
    kept: bool
    shade: int
    label: str


def comparison(job: Job, report: Report | None) -> list[Line]:
    if report is not None:
        return list(_of_report(report))
    return list(_of_result(job.result)) if job.result is not None else []


def _of_report(report: Report) -> Iterator[Line]:
    before, after = report.before, report.after
    layers = report.layers
    yield Line("Layers", str(layers.total), str(len(layers.kept)), _less(layers.total, len(layers.kept)))
    yield Line(
        "Parameters", short(before.parameters), short(after.parameters), _less(before.parameters, after.parameters)
    )
    yield Line("Size of the weights", size(before.bytes), size(after.bytes), _less(before.bytes, after.bytes))
    if before.flops and after.flops:
        change = _less(before.flops, after.flops)
        yield Line("Operations an example", short(before.flops), short(after.flops), change)
    yield from _scores(report)
    for one, other in _pairs(before, after):
        where = f"batch {one.batch_size}, {one.sequence_length} tokens"
        change = _times(one.p50_ms, other.p50_ms)
        yield Line("Latency, median", f"{one.p50_ms:.1f} ms", f"{other.p50_ms:.1f} ms", change, where)
    took = report.timings.get("recovering")
    if took:
        yield Line("Recovery", NOTHING, duration(took), "")


def _scores(report: Report) -> Iterator[Line]:
    before, after = report.before, report.after
    headline = report.task.metric
    if after.score is not None:
        retention = "" if report.retention is None else f"{percent(report.retention)} kept"
        note = "" if after.scores is None or after.scores.std is None else f"± {after.scores.std:.2f} over the seeds"
        yield Line(
            f"Score ({headline})" if headline else "Score", score(before.score), score(after.score), retention, note
        )
    for name, value in after.metrics.items():
        if name == headline and after.score is not None:
            continue
        was = before.metrics.get(name)
        gain = "" if was is None or value is None else f"{value - was:+.2f}"
        yield Line(name, score(was), score(value), gain, after.undefined.get(name, ""))


def _of_result(result: Result) -> Iterator[Line]:
    kept = len(result.layers_kept)
    yield Line("Layers", str(result.layers_total), str(kept), _less(result.layers_total, kept))
    one, other = result.parameters_before, result.parameters_after
    yield Line("Parameters", short(one), short(other), _less(one, other))
    one, other = result.bytes_before, result.bytes_after
    yield Line("Size of the weights", size(one), size(other), _less(one, other))
    if result.score_after is not None:
        kept_share = "" if result.retention is None else f"{percent(result.retention)} kept"
        name = f"Score ({result.metric})" if result.metric else "Score"
        yield Line(name, score(result.score_before), score(result.score_after), kept_share)
    if result.latency_ms_before is not None and result.latency_ms_after is not None:
        was, now = result.latency_ms_before, result.latency_ms_after
        yield Line("Latency, median", f"{was:.1f} ms", f"{now:.1f} ms", _times(was, now))


def _pairs(before: Measurements, after: Measurements) -> Iterator[tuple[Latency, Latency]]:
    """Of one size each."""
    later = {(one.batch_size, one.sequence_length): one for one in after.latency}
    for one in before.latency:
        other = later.get((one.batch_size, one.sequence_length))
        if other is not None:
            yield one, other


def _less(before: float, after: float) -> str:
    if before <= 0 or after == before:
        return ""
    return f"{(after / before - 1) * 100:+.0f} %".replace("-", "−")


def _times(before: float, after: float) -> str:
    return f"{times(before / after)} as fast" if after > 0 else ""


def layer_marks(job: Job, report: Report | None) -> list[LayerMark]:
    """Every layer of the model before, in its order; [] while it is not known which stay."""
    plan = job.resolved.plan if job.resolved else None
    if job.result is not None:
        total, kept = job.result.layers_total, set(job.result.layers_kept)
    elif plan is not None and plan.kept is not None:
        total, kept = plan.layers_total, set(plan.kept)
    else:
        return []
    measured = report.strategy.importance if report is not None else (plan.importance if plan else None)
    shades = _shades(measured, total)
    return [_mark(number, number in kept, shades[number]) for number in range(total)]


def _mark(number: int, kept: bool, shade: int) -> LayerMark:
    label = f"layer {number}, {'kept' if kept else 'dropped'}"
    return LayerMark(number, kept, shade, f"{label}, importance {shade} of {SHADES}" if shade else label)


def _shades(importance: list[float | None] | None, total: int) -> list[int]:
    # Of blocks there is one for each first layer, and not one a layer.
    if importance is None or len(importance) != total:
        return [0] * total
    known = [value for value in importance if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    spread = high - low
    if not spread > 0:
        return [0] * total
    return [0 if value is None else 1 + round((value - low) / spread * (SHADES - 1)) for value in importance]
