"""What a job's report tells of the device that it ran on: how much it computed, and in how many seconds."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from api_schemas.arithmetic import Sizes, Work
from api_schemas.data_size import BYTES_PER_TOKEN
from api_schemas.jobs import Stage
from api_schemas.reports import Report, Training
from api_schemas.speeds import LAYER_SECONDS, Kind
from api_schemas.stage_work import file_seconds, live, resolve_seconds

#: What a job that took less says of a rate is mostly noise, in seconds.
SHORTEST = 2.0
#: Of a training's seconds, at least so much is computing.
COMPUTING = 0.2


class MeasuredRate(NamedTuple):
    """``flops`` a second."""

    kind: Kind
    precision: str
    width: int
    flops: float


class MeasuredOverhead(NamedTuple):
    """How many times what a stage is taken to take."""

    stage: Stage
    ratio: float


def rates_of(report: Report) -> list[MeasuredRate]:
    """Of the trainings that this job did itself, and of inference where speed was measured: one of each kind, precision
    and width, however often the job trained.
    """
    found: dict[tuple[Kind, str, int], list[float]] = defaultdict(list)
    for rate in _rates(report):
        found[rate.kind, rate.precision, rate.width].append(rate.flops)
    return [MeasuredRate(*key, statistics.median(flops)) for key, flops in found.items()]


def _rates(report: Report) -> Iterator[MeasuredRate]:
    sizes, taught = Sizes.of(report.model), {reused.kind for reused in report.reused}
    for name, training in report.training.items():
        baseline = name.startswith(Stage.BASELINE)
        if training.seconds < SHORTEST or training.examples < 1 or (baseline and "baseline" in taught):
            continue
        seconds = max(COMPUTING * training.seconds, training.seconds - _passing(report, sizes, training, baseline))
        flops = _work(report, sizes, training, baseline).training / seconds
        yield MeasuredRate("training", training.precision, sizes.width, flops)
    timed = [] if "latency" in taught else report.before.latency
    for cell in sorted(timed, key=lambda cell: -cell.batch_size * cell.sequence_length)[:1]:
        tokens = cell.batch_size * cell.sequence_length
        seconds = cell.p50_ms / 1000
        seconds = max(COMPUTING * seconds, seconds - sizes.layers * LAYER_SECONDS[report.device.type])
        yield MeasuredRate(
            "inference", "fp32", sizes.width, sizes.forward(sizes.layers, tokens, cell.sequence_length) / seconds
        )


def overheads_of(report: Report) -> Iterator[MeasuredOverhead]:
    """Of the stages whose time hangs on files and texts."""
    took, after = report.timings, report.after.bytes
    for stage in (Stage.EXPORTING, Stage.VERIFYING):
        if stage in took:
            yield MeasuredOverhead(stage, took[stage] / file_seconds(stage, after))
    if Stage.RESOLVING in took and "tokenized_data" not in {reused.kind for reused in report.reused}:
        yield MeasuredOverhead(
            Stage.RESOLVING, took[Stage.RESOLVING] / resolve_seconds(report.before.bytes, _text_bytes(report))
        )


def _work(report: Report, sizes: Sizes, training: Training, baseline: bool) -> Work:
    layers = sizes.layers if baseline else len(report.layers.kept)
    teacher = sizes.layers if not baseline and live(report.recovery) else 0
    length = training.tokens / training.examples
    return sizes.training(layers, training.steps, training.tokens, length, teacher=teacher)


def _passing(report: Report, sizes: Sizes, training: Training, baseline: bool) -> float:
    return _work(report, sizes, training, baseline).passes * LAYER_SECONDS[report.device.type]


def _text_bytes(report: Report) -> float:
    if report.data is None or not report.training:
        return 0.0
    any_training = next(iter(report.training.values()))
    rows = sum(split.rows for split in report.data.splits.values())
    return rows * any_training.tokens / max(1, any_training.examples) * BYTES_PER_TOKEN
