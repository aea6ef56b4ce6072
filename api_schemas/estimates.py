"""What a job will take, told before it starts: minutes, tokens and memory, by stage, on a device of a known speed.

Each stage is counted in operations (``stage_work.py``) and divided by what the device computes in a second.
"""

from __future__ import annotations

import math

from pydantic import BaseModel, Field

from api_schemas.arithmetic import Work
from api_schemas.data_size import DataSize
from api_schemas.jobs import Stage
from api_schemas.speeds import Basis, DeviceType, Kind, Speed
from api_schemas.stage_work import Asked, stage_work
from api_schemas.training_memory import FLOAT, Memory, TrainingSize, training_memory

#: Of a runner without a model: interpreter, torch, transformers.
PROCESS_BYTES = 800 * 10**6
#: Stages that are not done again where another job with the same baseline has done them.
SHARED = frozenset({Stage.BASELINE})


class StageEstimate(BaseModel):
    stage: Stage = Field(description="one stage of the job")
    seconds: float = Field(description="that it is expected to take")
    tokens: int = Field(default=0, description="that models are trained on, without padding, in all epochs")


class Estimate(BaseModel):
    """What a job is expected to take once it runs; the time in the queue is not in it."""

    minutes: float = Field(description="of the whole job, once it runs")
    minutes_with_baseline: float | None = Field(
        default=None, description="where another job has trained the same baseline already; null where none is trained"
    )
    tokens: int = Field(description="that models are trained on, as the report's `training` counts them")
    memory_bytes: int = Field(description="the peak, of a GPU's memory or else of the runner's process")
    device: DeviceType = Field(description="what it would run on")
    device_name: str | None = Field(description="of a GPU")
    basis: Basis = Field(
        description="`jobs`: what this kind of device took for jobs; `probe`: matrices that its worker multiplied;"
        " `guess`: a table, which may be off by several times"
    )
    measured_jobs: int = Field(default=0, description="how many, where the basis is `jobs`")
    stages: list[StageEstimate] = Field(description="the same, stage by stage")
    notes: list[str] = Field(default=[], description="what was not known, and what was taken in its place")


def estimate(asked: Asked, data: DataSize | None, speed: Speed, notes: tuple[str, ...] = ()) -> Estimate:
    """``data`` is None where the job reads none."""
    works = stage_work(asked, data, speed)
    stages = [_staged(stage, work, asked, speed) for stage, work in works.items()]
    seconds = sum(one.seconds for one in stages)
    reused = sum(one.seconds for one in stages if one.stage in SHARED)
    kind: Kind = "training" if asked.trains else "inference"
    precision = asked.precision(speed) if asked.trains else "fp32"
    basis = speed.basis(kind)
    return Estimate(
        minutes=_minutes(seconds),
        minutes_with_baseline=_minutes(seconds - reused) if reused else None,
        tokens=sum(one.tokens for one in stages),
        memory_bytes=_memory(asked, data, speed),
        device=speed.device,
        device_name=speed.name,
        basis=basis,
        measured_jobs=speed.jobs(kind, precision, asked.sizes.width) if basis == "jobs" else 0,
        stages=stages,
        notes=[*notes, *asked.notes, *(data.unknown if data else ())],
    )


def seconds_of(work: Work, speed: Speed, asked: Asked) -> float:
    """Of all that is computed; the seconds that it takes whatever the device are in it."""
    width = asked.sizes.width
    return (
        work.training / speed.rate("training", asked.precision(speed), width)
        + work.inference / speed.rate("inference", "fp32", width)
        + work.passes * speed.layer_seconds
        + work.seconds
    )


def _staged(stage: Stage, work: Work, asked: Asked, speed: Speed) -> StageEstimate:
    seconds = seconds_of(work, speed, asked) * speed.overhead(stage)
    return StageEstimate(stage=stage, seconds=round(seconds, 2), tokens=round(work.tokens))


def _minutes(seconds: float) -> float:
    return float(f"{seconds / 60:.3g}")


def _memory(asked: Asked, data: DataSize | None, speed: Speed) -> int:
    """Bytes."""
    sizes = asked.sizes
    whole, kept = (FLOAT * sizes.parameters(layers) for layers in (sizes.layers, asked.kept))
    process = 0 if speed.device == "cuda" else PROCESS_BYTES
    if asked.evaluates_only:
        return process + whole
    if not asked.trains or data is None:
        return process + whole + kept
    recovery, teaches = asked.recovery, asked.recovery.method == "distill"
    tokens = recovery.max_length if speed.device == "cuda" else data.train.tokens_a_row(recovery.max_length)
    batch = recovery.batch_of(data.train.rows)
    recovering = _training(asked, speed, asked.kept, batch, tokens).total + (whole if teaches else 0)
    # `finetune` keeps the source beside its baseline.
    beside = 0 if teaches else whole
    batch = recovery.of_baseline().batch_of(data.train.rows)
    baseline = _training(asked, speed, sizes.layers, batch, tokens).total + beside
    return process + max(recovering, baseline if asked.baseline else 0)


def _training(asked: Asked, speed: Speed, layers: int, batch: int, tokens: float) -> Memory:
    """``tokens`` of a row: a GPU's longest batch is what must fit; on a CPU rows are packed, and are like the mean."""
    sizes = asked.sizes
    size = TrainingSize(
        parameters=sizes.parameters(layers), layers=layers, width=sizes.width, inner=sizes.inner, heads=0,
        length=math.ceil(tokens), precision=asked.precision(speed),
    )  # fmt: skip
    return training_memory(size, batch)
