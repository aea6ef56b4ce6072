"""How fast a device computes, as its worker has measured it, and what is taken of one that has measured nothing."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, Field

from api_schemas.jobs import Stage
from api_schemas.recovery import Precision

DeviceType = Literal["cpu", "cuda"]
Kind = Literal["training", "inference"]
#: What a speed comes from: jobs that the worker did, matrices that it multiplied when it had nothing to do, or a table.
Basis = Literal["jobs", "probe", "guess"]

FLOPS = Field(gt=1e6, lt=1e18, allow_inf_nan=False, description="floating-point operations in a second")


class Rate(BaseModel):
    """The median of a worker's last jobs, on models of about one width."""

    kind: Kind = Field(description="whether models were trained or only asked")
    precision: Precision = Field(description="what was computed in")
    width: int = Field(ge=1, le=2**20, description="of the hidden states")
    flops: float = FLOPS
    jobs: int = Field(ge=1, description="that it is the median of")


class Overhead(BaseModel):
    """What a stage without training takes here, against what it is taken to."""

    stage: Stage = Field(description="the stage")
    ratio: float = Field(
        gt=0, lt=1e6, allow_inf_nan=False, description="of the seconds it took to those it is taken to need"
    )
    jobs: int = Field(ge=1, description="that it is the median of")


class Speeds(BaseModel):
    """Of one worker's device."""

    precision: Precision = Field(description="what `recovery.precision: auto` becomes")
    matmul: float | None = Field(
        default=None, gt=1e6, lt=1e18, description="FLOP/s of float32 matrices on the CPU, without any model"
    )
    rates: list[Rate] = Field(default=[], max_length=100, description="how fast its device computes, by kind of work")
    overheads: list[Overhead] = Field(default=[], max_length=20, description="what stages take beside the computing")


class Speed(BaseModel):
    """A device that a job may run on. ``speeds`` is None for a worker of an older layercut, or where there is none."""

    device: DeviceType
    name: str | None = None
    speeds: Speeds | None = None

    @property
    def precision(self) -> Precision:
        if self.speeds is not None:
            return self.speeds.precision
        return "bf16" if self.device == "cuda" else "fp32"

    def basis(self, kind: Kind) -> Basis:
        if self._measured(kind):
            return "jobs"
        return "probe" if self.speeds is not None and self.speeds.matmul and self.device == "cpu" else "guess"

    def jobs(self, kind: Kind, precision: Precision, width: int) -> int:
        """How many ``rate`` goes by."""
        best = self._nearest(kind, precision, width)
        return best.jobs if best is not None else 0

    def rate(self, kind: Kind, precision: Precision, width: int) -> float:
        """FLOP/s: of jobs that were most like this one, else a share of what matrices alone are multiplied with."""
        gains = GAINS[self.device]
        best = self._nearest(kind, precision, width)
        if best is None:
            share = (TRAINING if kind == "training" else INFERENCE)[self.device]
            return self._matmul * share * gains[precision]
        return best.flops * gains[precision] / gains[best.precision]

    def overhead(self, stage: Stage) -> float:
        """How many times what the stage is taken to take it does; publishing, which no report tells, as verifying."""
        found = {one.stage: one.ratio for one in self.speeds.overheads} if self.speeds is not None else {}
        return found.get(Stage.VERIFYING if stage == Stage.PUBLISHING else stage, 1.0)

    @property
    def layer_seconds(self) -> float:
        """Of one layer's forward pass, however small: its kernels are started one after another."""
        return LAYER_SECONDS[self.device]

    def _measured(self, kind: Kind) -> list[Rate]:
        return [rate for rate in self.speeds.rates if rate.kind == kind] if self.speeds is not None else []

    def _nearest(self, kind: Kind, precision: Precision, width: int) -> Rate | None:
        """Of jobs that were most like one of this precision and width."""
        return min(
            self._measured(kind),
            key=lambda rate: (rate.precision != precision, abs(math.log(rate.width / width))),
            default=None,
        )

    @property
    def _matmul(self) -> float:
        if self.device == "cuda":
            known = (flops for name, flops in PEAKS if name in (self.name or ""))
            return next(known, PEAK)
        return (self.speeds.matmul if self.speeds is not None else None) or CPU_MATMUL


#: Of a core pair without any measurement.
CPU_MATMUL = 1.2e11
#: FLOP/s of dense float32 matrices (TF32 left out), by what is in a GPU's name; in 16 bits GAINS times as many.
PEAKS = (
    ("B200", 7.5e13), ("H200", 6.7e13), ("H100", 6.0e13), ("L40", 9.0e13), ("A100", 1.95e13), ("A10", 3.1e13),
    ("L4", 3.0e13), ("4090", 8.2e13), ("3090", 3.5e13), ("V100", 1.57e13), ("T4", 8.1e12),
)  # fmt: skip
PEAK = 2e13
#: Shares of that which are left of it in a model: texts are short, and not all that a layer does is a matrix product.
TRAINING: dict[DeviceType, float] = {"cpu": 0.6, "cuda": 0.4}
INFERENCE: dict[DeviceType, float] = {"cpu": 0.75, "cuda": 0.5}
GAINS: dict[DeviceType, dict[Precision, float]] = {
    "cpu": {"fp32": 1.0, "bf16": 2.0, "fp16": 1.0},
    "cuda": {"fp32": 1.0, "bf16": 4.0, "fp16": 4.0},
}
LAYER_SECONDS: dict[DeviceType, float] = {"cpu": 2e-4, "cuda": 4e-4}
