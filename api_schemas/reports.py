"""Everything measured before and after. Scores are 0 to 100, times in milliseconds, sizes in bytes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Latency(BaseModel):
    """One forward pass of the whole model, in inference mode, on the job's device."""

    batch_size: int
    sequence_length: int
    p50_ms: float
    p95_ms: float
    runs: int
    examples_per_second: float


class SeedScores(BaseModel):
    """The headline score of each seed's model. ``std`` is the sample standard deviation; null for one seed."""

    mean: float
    std: float | None
    by_seed: dict[int, float]


class Side(BaseModel):
    """The model before, or after. ``score`` is null where nothing was trained and it has no head for the task.

    ``score`` and ``metrics`` are means over the seeds; size and speed are those of the first seed's model.
    """

    parameters: int
    bytes: int
    flops: int | None = Field(default=None, description="of the matrix products of one example of `max_length` tokens")
    score: float | None = None
    scores: SeedScores | None = None
    metrics: dict[str, float] = {}
    latency: list[Latency] = []


class StackMap(BaseModel):
    """Counted from 0 in the original model: layer ``kept[i]`` of the source is layer ``i`` of the result."""

    total: int
    kept: list[int]
    dropped: list[int]


class LayerMap(StackMap):
    """Of an encoder-decoder, the layers are numbered through here, the encoder's first; ``stacks`` has them apart."""

    stacks: dict[str, StackMap] | None = None


class Check(BaseModel):
    name: str
    passed: bool
    detail: str


class Verification(BaseModel):
    """What a fresh process with stock transformers found in the exported files."""

    passed: bool
    checks: list[Check]
    versions: dict[str, str] = {}


class Interval(BaseModel):
    """Paired bootstrap over the rows of the dev split: both models are scored on the same drawn rows.

    With several seeds, each resample draws seeds and rows, both with replacement, and takes the mean over the seeds.
    """

    low: float
    high: float
    confidence: float
    resamples: int


class Reused(BaseModel):
    """What an earlier job, or another one at the same time, had made."""

    kind: str = Field(description="tokenized_data, baseline, baseline_logits, baseline_scores or layer_scores")
    fingerprint: str = Field(description="sha256 of everything that it depends on")
    seconds_saved: float = Field(description="what making it took; time spent waiting for its maker is not taken off")


class Report(BaseModel):
    """The keys that outside tools rely on come first."""

    layers: LayerMap
    before: Side
    after: Side
    retention: float | None
    speedup: float | None = Field(description="p50 before / p50 after, the mean over the measured cells")
    verdict: str
    verification: Verification

    job_id: str | None
    model: dict[str, Any]
    task: dict[str, Any]
    strategy: dict[str, Any]
    recovery: dict[str, Any]
    retention_interval: Interval | None = Field(default=None, description="of retention, a ratio")
    gain_interval: Interval | None = Field(default=None, description="of score after - score before, in points")
    training: dict[str, Any] = {}
    data: dict[str, Any] = {}
    reused: list[Reused] = []
    warnings: list[str] = []
    seed: int
    seeds: list[int] = Field(default=[], description="of the trainings; the first one's model is the exported one")
    device: dict[str, Any]
    versions: dict[str, str]
    timings: dict[str, float] = Field(description="seconds in each stage")
    peak_memory_bytes: int | None = None
