"""How fast this worker's device is: learnt from each job that it did, and kept in a small file for the next start.

What a report says is its runner's word. It can make estimates wrong, and nothing else; of the last jobs the median is
told, so that a few which lie, or ran beside others, do not count.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api_schemas.jobs import Stage
from api_schemas.recovery import Precision
from api_schemas.reports import Report
from api_schemas.speeds import FLOPS, Kind, Overhead, Rate, Speeds
from sources.beneath import open_regular
from workers.supervision.measured_speeds import overheads_of, rates_of
from workers.supervision.scratch import locked

log = logging.getLogger("layercut.speeds")

NAME = "speeds.json"
REPORT, REPORT_BYTES = "report.json", 16 * 2**20
MAX_BYTES = 2**20
#: Of one kind, precision and width on one device: the newest count.
SAMPLES = 9
MAX_SAMPLES = 1000

PROBE = Path(__file__).with_name("matmul_probe.py")
PROBE_SECONDS = 30.0
#: Whichever of these numpy was built with.
ONE_THREAD = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")}


class RateSample(BaseModel):
    model_config = ConfigDict(extra="forbid")

    device: str = Field(max_length=200)
    kind: Kind
    precision: Precision
    width: int = Field(ge=1, le=2**20)
    flops: float = FLOPS


class OverheadSample(BaseModel):
    model_config = ConfigDict(extra="forbid")

    device: str = Field(max_length=200)
    stage: Stage
    ratio: float = Field(gt=0, lt=1e6, allow_inf_nan=False)


class Notes(BaseModel):
    """Oldest first. ``matmul``: FLOP/s of float32 matrices on the host's CPU."""

    model_config = ConfigDict(extra="forbid")

    matmul: float | None = Field(default=None, gt=1e6, lt=1e18)
    rates: list[RateSample] = []
    overheads: list[OverheadSample] = []


class SpeedNotes:
    """``device`` is the GPU's name, or ``cpu``; several workers of one host may share ``folder``."""

    def __init__(self, folder: Path, device: str, precision: Precision) -> None:
        self._folder, self._device, self._precision = folder, device, precision
        self._notes = _read(folder)

    @property
    def speeds(self) -> Speeds:
        """As they are told to the gateway."""
        rates: dict[tuple[Kind, Precision, int], list[float]] = defaultdict(list)
        for rate in self._notes.rates:
            if rate.device == self._device:
                rates[rate.kind, rate.precision, rate.width].append(rate.flops)
        ratios: dict[Stage, list[float]] = defaultdict(list)
        for one in self._notes.overheads:
            if one.device == self._device:
                ratios[one.stage].append(one.ratio)
        return Speeds(
            precision=self._precision,
            matmul=self._notes.matmul,
            rates=[
                Rate(kind=kind, precision=precision, width=width, flops=statistics.median(last), jobs=len(last))
                for (kind, precision, width), found in rates.items()
                for last in (found[-SAMPLES:],)
            ][-100:],
            overheads=[
                Overhead(stage=stage, ratio=statistics.median(last), jobs=len(last))
                for stage, found in ratios.items()
                for last in (found[-SAMPLES:],)
            ],
        )

    @property
    def probed(self) -> bool:
        return self._notes.matmul is not None

    def learn(self, files: Path) -> bool:
        """From the report among the ``files`` of a job that was published; whether there was anything to learn."""
        try:
            with open_regular(files, REPORT) as file:
                report = Report.model_validate_json(file.read(REPORT_BYTES))
            rates = [RateSample(device=self._device, **rate._asdict()) for rate in rates_of(report)]
            overheads = [OverheadSample(device=self._device, **one._asdict()) for one in overheads_of(report)]
        except Exception as error:  # noqa: BLE001 - whatever a runner has written there, the job has succeeded
            log.warning("no speeds are learnt of a job: %s", type(error).__name__)
            return False
        self._add(rates, overheads)
        return bool(rates or overheads)

    def probe(self) -> bool:
        """Multiply some matrices, in a process of its own, where that was not done on this host yet; whether it was."""
        if self.probed:
            return False
        try:
            told = subprocess.run(
                [sys.executable, "-P", str(PROBE)], check=True, capture_output=True, timeout=PROBE_SECONDS,
                env=ONE_THREAD | {"LAYERCUT_PROBED_THREADS": os.environ.get("OMP_NUM_THREADS", "")},
            ).stdout  # fmt: skip
            self._add(matmul=Notes(matmul=json.loads(told)).matmul)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            log.warning("the speed of this host is not known: %s", type(error).__name__)
            self._notes.matmul = None
            return False
        return True

    def _add(
        self, rates: Iterable[RateSample] = (), overheads: Iterable[OverheadSample] = (), matmul: float | None = None
    ) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with locked(self._folder):
                self._notes = _added(_read(self._folder), rates, overheads, matmul)
                new = self._folder / f".{NAME}.new"
                new.write_text(self._notes.model_dump_json(), encoding="utf-8")
                new.replace(self._folder / NAME)
        except OSError as error:  # a disk that is full: the next start learns it again
            self._notes = _added(self._notes, rates, overheads, matmul)
            log.warning("what was learnt of speeds is not kept: %s", error.strerror)


def _added(
    notes: Notes, rates: Iterable[RateSample], overheads: Iterable[OverheadSample], matmul: float | None
) -> Notes:
    return Notes(
        matmul=matmul or notes.matmul,
        rates=[*notes.rates, *rates][-MAX_SAMPLES:],
        overheads=[*notes.overheads, *overheads][-MAX_SAMPLES:],
    )


def _read(folder: Path) -> Notes:
    """What cannot be read is as good as nothing: it will be learnt again."""
    try:
        with open_regular(folder, NAME) as file:
            return Notes.model_validate_json(file.read(MAX_BYTES))
    except (OSError, ValidationError) as error:
        if not isinstance(error, FileNotFoundError):
            log.warning("the notes on speeds in %s are not used: %s", folder.name, type(error).__name__)
        return Notes()
