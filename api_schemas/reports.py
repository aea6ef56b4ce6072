"""Everything measured before and after. Scores are 0 to 100, times in milliseconds, sizes in bytes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from api_schemas.architectures import ModelFacts
from api_schemas.cards import CardFacts
from api_schemas.objectives import Objective
from api_schemas.read_spec import ReadSpec
from api_schemas.recovery import Recovery
from api_schemas.task_spec import PairsSpec


class Latency(BaseModel):
    """One forward pass of the whole model, in inference mode, on the job's device."""

    batch_size: int
    sequence_length: int
    p50_ms: float
    p95_ms: float
    runs: int
    examples_per_second: float


class SeedScores(BaseModel):
    """The headline score of each seed's model, null where it is not defined; ``mean`` is null where one is.

    ``std`` is the sample standard deviation; null for one seed.
    """

    mean: float | None
    std: float | None
    by_seed: dict[int, float | None]


class Measurements(BaseModel):
    """The model before, or after. ``score`` is null where nothing was trained and it has no head for the task.

    ``score`` and ``metrics`` are means over the seeds; size and speed are those of the first seed's model.
    """

    parameters: int
    bytes: int
    flops: int | None = Field(default=None, description="of the matrix products of one example of `max_length` tokens")
    score: float | None = None
    scores: SeedScores | None = None
    metrics: dict[str, float | None] = {}
    undefined: dict[str, str] = Field(default={}, description="why a metric is null")
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


class OtherVersions(BaseModel):
    """What stock libraries of other versions found in the same files: those that `LAYERCUT_VERIFY_WITH` names."""

    versions: dict[str, str]
    passed: bool | None = Field(description="null where they cannot read the files at all")
    cannot: str | None = Field(default=None, description="why they cannot")
    checks: list[Check]

    @property
    def named(self) -> str:
        """As in `transformers 4.57.6`."""
        return f"transformers {self.versions.get('transformers', 'of another version')}"


class Verification(BaseModel):
    """What a fresh process with stock transformers found in the exported files."""

    passed: bool | None = Field(description="null where no model was exported: nothing was verified")
    skipped: str | None = Field(default=None, description="why nothing was verified")
    checks: list[Check]
    versions: dict[str, str] = {}
    others: list[OtherVersions] = []


class Interval(BaseModel):
    """Paired Bayesian bootstrap over the rows of the dev split: in each resample both models are scored with the same
    random weights of the rows. Each end leaves room for one more row that is lost, or won.

    With several seeds, the means over the seeds are compared, and the seeds are taken for a sample of all.
    """

    low: float
    high: float
    confidence: float
    resamples: int


Outcome = Literal["kept", "lost", "better", "undecided"]


class Decision(BaseModel):
    """By non-inferiority, on the interval of the gain. kept: all of it is above -margin; better: above 0 as well;
    lost: all of it is below -margin; undecided: anything else. ``outcome`` is null where nothing was compared.
    """

    outcome: Outcome | None
    margin: float = Field(description="share of the baseline's score that may be lost")
    margin_points: float | None = Field(default=None, description="that share in points; null without an interval")
    rows: int | None = Field(default=None, description="of the dev split that the score is taken on")
    rows_needed: int | None = Field(
        default=None, description="how many rows, about, would decide what is undecided; null where that is not known"
    )
    why: str


class Reused(BaseModel):
    """What an earlier job, or another one at the same time, had made."""

    kind: str = Field(
        description="tokenized_data, baseline, baseline_logits, baseline_scores, layer_importance or search_bracket"
    )
    fingerprint: str = Field(description="sha256 of everything that it depends on")
    seconds_saved: float = Field(description="what making it took; time spent waiting for its maker is not taken off")


class Trial(BaseModel):
    """A candidate after ``steps`` of recovery (0: as it is cut), on the held-out slice.

    ``distance`` is how far its answers are from the baseline's: KL(baseline ‖ candidate), or the squared difference of
    a regression's number; the mean over the rows, null where the training diverged. ``score`` is by the gold labels.
    """

    steps: int
    distance: float | None
    score: float | None


class Candidate(BaseModel):
    dropped: list[int]
    strategies: list[str] = Field(description="whose choice it is; `all` where every choice of this size is tried")
    trials: list[Trial] = []

    @property
    def last(self) -> Trial:
        return self.trials[-1]


class Bracket(BaseModel):
    """The candidates of one size, the winner first, with all their trials.

    The next may be nearer to the baseline than the choice of `top` before it, but not clearly: see docs/strategies.md.
    """

    drop: int
    rows: int = Field(description="of the training set, held out of the search's trainings")
    baseline_score: float | None = Field(description="on these rows, which the baseline has learnt from")
    candidates: list[Candidate]
    steps: int = Field(description="optimizer steps of all trials")

    @property
    def best(self) -> Candidate:
        return self.candidates[0]

    @property
    def retention(self) -> float | None:
        score, whole = self.best.last.score, self.baseline_score
        return None if score is None or whole is None or whole <= 0 else score / whole


class CurvePoint(BaseModel):
    """One size: its best candidate, and what that has on the slice after ``steps`` of recovery."""

    drop: int
    kept: list[int] | None = Field(description="null where only the speed of the size was measured")
    dropped: list[int] | None
    strategies: list[str] = []
    steps: int | None = None
    distance: float | None = None
    score: float | None = None
    retention: float | None = None
    parameters: int | None
    bytes: int | None
    latency: Latency | None = None
    front: bool = Field(default=False, description="whether no other size is both smaller and better")


class Search(BaseModel):
    """How `auto` came to its choice. Every score here is of the slice, never of dev."""

    objective: Objective
    chosen: int | None = Field(description="layers that go; null while that is not known")
    met: bool | None = Field(default=None, description="by the report's figures, once there are some")
    shortfall: str | None = None
    curve: list[CurvePoint]
    front: list[int] = Field(description="`drop` of the sizes on the Pareto front of size and retention")
    brackets: list[Bracket]
    steps: int = Field(description="optimizer steps behind all of it")
    spent_steps: int = Field(description="… of these, by this job; the rest was in the cache")


class ReportedTask(BaseModel):
    """The task as it was asked for. ``metric`` is the one that the score is by; null where nothing is scored."""

    name: str
    metric: str | None
    metrics_of: dict[str, str] = Field(
        default={}, description="which label, or mean of labels, a metric is of, where it is not of all rows alike"
    )
    dataset: str | None = None
    dev: str | None = None
    text_columns: list[str] = []
    label_column: str | None = None
    label_columns: list[str] = []
    pairs: PairsSpec | None = None
    kind: str | None = Field(default=None, description="a name of TASK_KINDS; null where nothing is learnt")
    read: ReadSpec | None = Field(default=None, description="how a file of the user's own was read")
    dev_read: ReadSpec | None = None
    max_train_rows: int | None = None


class Calibration(BaseModel):
    """The text that the layers were measured on. ``dataset`` is where it came from, ``seed`` drew its rows."""

    source: str
    dataset: str
    text_columns: list[str]
    rows: int
    max_length: int = Field(description="tokens")
    sha256: str
    seed: int


class ReportedStrategy(BaseModel):
    name: str
    summary: str
    reference: str
    measure: str | None
    importance: list[float | None] | None = Field(description="as in the plan")
    protected: list[int]
    calibration: Calibration | None = Field(description="null where no text was looked at")


class Training(BaseModel):
    """What one training took. Tokens leave padding out; seconds are those of all its attempts."""

    steps: int
    examples: int
    tokens: int
    seconds: float
    examples_per_second: float
    loss: float
    precision: str
    learning_rate: float
    micro_batch: int = Field(description="rows that were computed at a time")
    word_embeddings: bool = Field(description="whether they were trained as well")
    engine: str = Field(description="packed or quick, the CPU engine; plain, the stock modules")
    best_score: float | None = Field(description="of the weights that were chosen, where they were chosen")
    best_epoch: float | None


class Split(BaseModel):
    rows: int
    source: str
    sha256: str
    skipped: dict[str, int] = Field(default={}, description="bad rows that were left out, by reason")


class ReportedData(BaseModel):
    labels: list[str] = Field(description="in id order; empty for a regression")
    splits: dict[str, Split] = Field(
        description="`train`, the dev splits by name, `pairs` of an embedding, and `text` without labels"
    )


class Device(BaseModel):
    """A speed means nothing without the machine."""

    type: Literal["cpu", "cuda"]
    name: str
    threads: int | None = Field(default=None, description="of a CPU")
    memory_bytes: int | None = Field(default=None, description="of a GPU")
    float32_matmul: str | None = Field(
        default=None, description="of a GPU: what float32 matrices are multiplied in; `highest` is float32, not TF32"
    )


class ReportedStart(BaseModel):
    """Of `recovery.from`: the earlier job, its layers by their numbers in the original model, and what was read of it:
    the sha256 of the contents of its model's files, and the stock classes that it was saved from.
    """

    job: str
    kept: list[int]
    sha256: str
    classes: list[str] = []


class FormatReport(BaseModel):
    """One form of the exported model, measured by itself: on the CPU, whatever the job's device is; all in turns.

    ``score`` is that of the exported model's seed; null where nothing is scored.
    """

    name: str = Field(description="a name of GET /v1/formats")
    files: list[str]
    bytes: int = Field(description="of these files together")
    score: float | None = None
    metrics: dict[str, float | None] = {}
    undefined: dict[str, str] = Field(default={}, description="why a metric is null")
    latency: list[Latency] = []
    device: Device


class Report(BaseModel):
    """The keys that outside tools rely on come first."""

    layers: LayerMap
    before: Measurements
    after: Measurements
    retention: float | None
    speedup: float | None = Field(description="p50 before / p50 after, the mean over the measured cells")
    verdict: str = Field(description="one sentence, which begins with the outcome")
    verification: Verification

    job_id: str | None
    model: ModelFacts
    card: CardFacts = CardFacts()
    task: ReportedTask
    strategy: ReportedStrategy
    recovery: Recovery
    start: ReportedStart | None = Field(default=None, description="where recovery began at an earlier job's model")
    source_sha256: str | None = Field(
        default=None, description="of the weights of the model before; null where they were not hashed"
    )
    decision: Decision = Field(description="the verdict, for programs")
    retention_interval: Interval | None = Field(default=None, description="of retention, a ratio")
    gain_interval: Interval | None = Field(default=None, description="of score after - score before, in points")
    search: Search | None = Field(default=None, description="of `auto`: the curve, and how the layers were chosen")
    training: dict[str, Training] = Field(default={}, description="by stage, and by seed after the first")
    data: ReportedData | None = Field(default=None, description="null where no data was read")
    formats: list[FormatReport] = Field(
        default=[], description="empty where no other than safetensors was asked for; that is the first, else"
    )
    reused: list[Reused] = []
    warnings: list[str] = []
    seed: int
    seeds: list[int] = Field(default=[], description="of the trainings; the first one's model is the exported one")
    device: Device
    versions: dict[str, str]
    timings: dict[str, float] = Field(description="seconds in each stage")
    peak_memory_bytes: int | None = None
