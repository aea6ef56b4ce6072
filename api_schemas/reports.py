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
    """One forward pass of the whole model, in inference mode, on the job's device; of another job's model of the same
    shape, where `reused` has `latency`: measured on the same host on the same day.
    """

    batch_size: int = Field(description="examples of a pass")
    sequence_length: int = Field(description="tokens of each")
    p50_ms: float = Field(description="median, in milliseconds")
    p95_ms: float = Field(description="of 20 passes 19 took no longer, in milliseconds")
    runs: int = Field(description="passes that were timed")
    examples_per_second: float = Field(description="at the median")


class SeedScores(BaseModel):
    """The headline score of each seed's model, null where it is not defined; ``mean`` is null where one is.

    ``std`` is the sample standard deviation; null for one seed.
    """

    mean: float | None = Field(description="over the seeds")
    std: float | None = Field(description="over the seeds, of the sample")
    by_seed: dict[int, float | None] = Field(description="the score of each")


class Measurements(BaseModel):
    """The model before, or after. ``score`` is null where nothing was trained and it has no head for the task.

    ``score`` and ``metrics`` are means over the seeds; size and speed are those of the first seed's model.
    """

    parameters: int = Field(description="of the model")
    bytes: int = Field(description="of its weights")
    flops: int | None = Field(default=None, description="of the matrix products of one example of `max_length` tokens")
    score: float | None = Field(default=None, description="the headline metric, 0 to 100")
    scores: SeedScores | None = Field(default=None, description="the same, seed by seed")
    metrics: dict[str, float | None] = Field(default={}, description="all that were measured, by name")
    undefined: dict[str, str] = Field(default={}, description="why a metric is null")
    latency: list[Latency] = Field(default=[], description="how long a pass takes, by size")


class StackMap(BaseModel):
    """Counted from 0 in the original model: layer ``kept[i]`` of the source is layer ``i`` of the result."""

    total: int = Field(description="layers before")
    kept: list[int] = Field(description="that stayed")
    dropped: list[int] = Field(description="that went")


class LayerMap(StackMap):
    """Of an encoder-decoder, the layers are numbered through here, the encoder's first; ``stacks`` has them apart."""

    stacks: dict[str, StackMap] | None = Field(default=None, description="of an encoder-decoder, each of its stacks")


class Check(BaseModel):
    name: str = Field(description="what was looked at")
    passed: bool = Field(description="whether it holds")
    detail: str = Field(description="what was found")


class OtherVersions(BaseModel):
    """What stock libraries of other versions found in the same files: those that `LAYERCUT_VERIFY_WITH` names."""

    versions: dict[str, str] = Field(description="of the libraries")
    passed: bool | None = Field(description="null where they cannot read the files at all")
    cannot: str | None = Field(default=None, description="why they cannot")
    checks: list[Check] = Field(description="one by one")

    @property
    def named(self) -> str:
        """As in `transformers 4.57.6`."""
        return f"transformers {self.versions.get('transformers', 'of another version')}"


class Verification(BaseModel):
    """What a fresh process with stock transformers found in the exported files."""

    passed: bool | None = Field(description="null where no model was exported: nothing was verified")
    skipped: str | None = Field(default=None, description="why nothing was verified")
    checks: list[Check] = Field(description="one by one")
    versions: dict[str, str] = Field(default={}, description="of what they were made with")
    others: list[OtherVersions] = Field(default=[], description="of the libraries in other versions")


class Interval(BaseModel):
    """Paired Bayesian bootstrap over the rows of the dev split: in each resample both models are scored with the same
    random weights of the rows. Each end leaves room for one more row that is lost, or won.

    With several seeds, the means over the seeds are compared, and the seeds are taken for a sample of all.
    """

    low: float = Field(description="the lower end, in points")
    high: float = Field(description="the upper end, in points")
    confidence: float = Field(description="of the interval, as in 0.95")
    resamples: int = Field(description="that it was made of")


Outcome = Literal["kept", "lost", "better", "undecided"]


class Decision(BaseModel):
    """By non-inferiority, on the interval of the gain. kept: all of it is above -margin; better: above 0 as well;
    lost: all of it is below -margin; undecided: anything else. ``outcome`` is null where nothing was compared.
    """

    outcome: Outcome | None = Field(description="what may be said")
    margin: float = Field(description="share of the baseline's score that may be lost")
    margin_points: float | None = Field(default=None, description="that share in points; null without an interval")
    rows: int | None = Field(default=None, description="of the dev split that the score is taken on")
    rows_needed: int | None = Field(
        default=None, description="how many rows, about, would decide what is undecided; null where that is not known"
    )
    why: str = Field(description="the same with its numbers")


class Reused(BaseModel):
    """What an earlier job, or another one at the same time, had made."""

    kind: str = Field(
        description=(
            "tokenized_data, baseline, baseline_logits, baseline_scores, layer_importance, search_bracket or latency"
        )
    )
    fingerprint: str = Field(description="sha256 of everything that it depends on")
    seconds_saved: float = Field(description="what making it took; time spent waiting for its maker is not taken off")


class Trial(BaseModel):
    """A candidate after ``steps`` of recovery (0: as it is cut), on the held-out slice.

    ``distance`` is how far its answers are from the baseline's: KL(baseline ‖ candidate), or the squared difference of
    a regression's number; the mean over the rows, null where the training diverged. ``score`` is by the gold labels.
    """

    steps: int = Field(description="of recovery")
    distance: float | None = Field(description="of its answers from the full model's")
    score: float | None = Field(description="on the slice, 0 to 100")


class Candidate(BaseModel):
    dropped: list[int] = Field(description="numbers of the layers that it drops")
    strategies: list[str] = Field(description="whose choice it is; `all` where every choice of this size is tried")
    trials: list[Trial] = Field(default=[], description="what it had after more and more steps")

    @property
    def last(self) -> Trial:
        return self.trials[-1]


class Bracket(BaseModel):
    """The candidates of one size, the winner first, with all their trials.

    The next may be nearer to the baseline than the choice of `top` before it, but not clearly: see docs/strategies.md.
    """

    drop: int = Field(description="layers that its candidates drop")
    rows: int = Field(description="of the training set, held out of the search's trainings")
    baseline_score: float | None = Field(description="on these rows, which the baseline has learnt from")
    candidates: list[Candidate] = Field(description="the winner first")
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

    drop: int = Field(description="how many layers go")
    kept: list[int] | None = Field(description="null where only the speed of the size was measured")
    dropped: list[int] | None = Field(description="which ones the best candidate drops")
    strategies: list[str] = Field(default=[], description="that named these layers")
    steps: int | None = Field(default=None, description="of recovery, before it was scored")
    distance: float | None = Field(default=None, description="of its answers from the full model's")
    score: float | None = Field(default=None, description="on the slice, 0 to 100")
    retention: float | None = Field(
        default=None, description="score after / score before; null where there is no score"
    )
    parameters: int | None = Field(description="that are left")
    bytes: int | None = Field(description="of the weights that are left")
    latency: Latency | None = Field(default=None, description="as it was measured")
    front: bool = Field(default=False, description="whether no other size is both smaller and better")


class Search(BaseModel):
    """How `auto` came to its choice. Every score here is of the slice, never of dev."""

    objective: Objective = Field(description="what was asked to be reached")
    chosen: int | None = Field(description="layers that go; null while that is not known")
    met: bool | None = Field(default=None, description="by the report's figures, once there are some")
    shortfall: str | None = Field(default=None, description="by what it was missed; null where it was reached")
    curve: list[CurvePoint] = Field(description="every size that was tried")
    front: list[int] = Field(description="`drop` of the sizes on the Pareto front of size and retention")
    brackets: list[Bracket] = Field(description="all candidates, size by size")
    steps: int = Field(description="optimizer steps behind all of it")
    spent_steps: int = Field(description="… of these, by this job; the rest was in the cache")


class ReportedTask(BaseModel):
    """The task as it was asked for. ``metric`` is the one that the score is by; null where nothing is scored."""

    name: str = Field(description="of the task, or of the file")
    metric: str | None = Field(description="what the score is by")
    metrics_of: dict[str, str] = Field(
        default={}, description="which label, or mean of labels, a metric is of, where it is not of all rows alike"
    )
    dataset: str | None = Field(default=None, description="the file")
    dev: str | None = Field(default=None, description="the file that it was scored on")
    text_columns: list[str] = Field(default=[], description="that were read")
    label_column: str | None = Field(default=None, description="that was learnt")
    label_columns: list[str] = Field(default=[], description="that were learnt")
    pairs: PairsSpec | None = Field(default=None, description="that vectors were compared on")
    kind: str | None = Field(default=None, description="a name of TASK_KINDS; null where nothing is learnt")
    read: ReadSpec | None = Field(default=None, description="how a file of the user's own was read")
    dev_read: ReadSpec | None = Field(default=None, description="how the dev file was read")
    max_train_rows: int | None = Field(default=None, description="that were asked for")


class Calibration(BaseModel):
    """The text that the layers were measured on. ``dataset`` is where it came from, ``seed`` drew its rows."""

    source: str = Field(description="what kind of text")
    dataset: str = Field(description="where it came from")
    text_columns: list[str] = Field(description="that were read")
    rows: int = Field(description="texts that were taken")
    max_length: int = Field(description="tokens")
    sha256: str = Field(description="of the texts, in hex")
    seed: int = Field(description="draws whatever is drawn: the split, batches, new weights")


class ReportedStrategy(BaseModel):
    name: str = Field(description="a name of GET /v1/strategies")
    summary: str = Field(description="what it does")
    reference: str = Field(description="where it is from")
    measure: str | None = Field(description="what it ranks by; null where it does not")
    importance: list[float | None] | None = Field(description="as in the plan")
    protected: list[int] = Field(description="layers that might not go")
    calibration: Calibration | None = Field(description="null where no text was looked at")


class Training(BaseModel):
    """What one training took. Tokens leave padding out; seconds are those of all its attempts."""

    steps: int = Field(description="of the optimizer")
    examples: int = Field(description="seen in all")
    tokens: int = Field(description="without padding")
    seconds: float = Field(description="of all its attempts")
    examples_per_second: float = Field(description="on average")
    loss: float = Field(description="at the end")
    precision: str = Field(description="what was computed in")
    learning_rate: float = Field(description="at its highest")
    micro_batch: int = Field(description="rows that were computed at a time")
    word_embeddings: bool = Field(description="whether they were trained as well")
    engine: str = Field(description="packed or quick, the CPU engine; plain, the stock modules")
    best_score: float | None = Field(description="of the weights that were chosen, where they were chosen")
    best_epoch: float | None = Field(description="where the state that was taken is from; null for the last")


class Split(BaseModel):
    rows: int = Field(description="in it")
    source: str = Field(description="where they are from")
    sha256: str = Field(description="of its rows, in hex")
    skipped: dict[str, int] = Field(default={}, description="bad rows that were left out, by reason")


class ReportedData(BaseModel):
    labels: list[str] = Field(description="in id order; empty for a regression")
    splits: dict[str, Split] = Field(
        description="`train`, the dev splits by name, `pairs` of an embedding, and `text` without labels"
    )


class Device(BaseModel):
    """A speed means nothing without the machine."""

    type: Literal["cpu", "cuda"] = Field(description="what kind")
    name: str = Field(description="as the system calls it")
    threads: int | None = Field(default=None, description="of a CPU")
    memory_bytes: int | None = Field(default=None, description="of a GPU")
    float32_matmul: str | None = Field(
        default=None, description="of a GPU: what float32 matrices are multiplied in; `highest` is float32, not TF32"
    )


class ReportedStart(BaseModel):
    """Of `recovery.from`: the earlier job, its layers by their numbers in the original model, and what was read of it:
    the sha256 of the contents of its model's files, and the stock classes that it was saved from.
    """

    job: str = Field(description="the earlier job")
    kept: list[int] = Field(description="numbers of its layers in the original model")
    sha256: str = Field(description="of its files")
    classes: list[str] = Field(default=[], description="of the model, as its config names them")


class FormatReport(BaseModel):
    """One form of the exported model, measured by itself: on the CPU, whatever the job's device is; all in turns.

    ``score`` is that of the exported model's seed; null where nothing is scored.
    """

    name: str = Field(description="a name of GET /v1/formats")
    files: list[str] = Field(description="of the artifact")
    bytes: int = Field(description="of these files together")
    score: float | None = Field(default=None, description="the headline metric, 0 to 100")
    metrics: dict[str, float | None] = Field(default={}, description="all that were measured, by name")
    undefined: dict[str, str] = Field(default={}, description="why a metric is null")
    latency: list[Latency] = Field(default=[], description="how long a pass takes, by size")
    device: Device = Field(description="where it was measured")


class Report(BaseModel):
    """The keys that outside tools rely on come first."""

    layers: LayerMap = Field(description="which stayed and which went")
    before: Measurements = Field(description="of the full model")
    after: Measurements = Field(description="of the model that is delivered")
    retention: float | None = Field(description="score after / score before; null where there is no score")
    speedup: float | None = Field(description="p50 before / p50 after, the mean over the measured cells")
    verdict: str = Field(description="one sentence, which begins with the outcome")
    verification: Verification = Field(description="what proved the files")

    job_id: str | None = Field(description="of which job; null where it was run without the service")
    model: ModelFacts = Field(description="the model before")
    card: CardFacts = Field(default=CardFacts(), description="what the source's card says of it")
    task: ReportedTask = Field(description="what it is for")
    strategy: ReportedStrategy = Field(description="what named the layers")
    recovery: Recovery = Field(description="what mended it, nothing left open")
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
    reused: list[Reused] = Field(default=[], description="what other jobs had made already")
    warnings: list[str] = Field(default=[], description="what to know before the numbers are believed, in sentences")
    seed: int = Field(description="draws whatever is drawn: the split, batches, new weights")
    seeds: list[int] = Field(default=[], description="of the trainings; the first one's model is the exported one")
    device: Device = Field(description="where all of this was measured")
    versions: dict[str, str] = Field(description="of what it was made with")
    timings: dict[str, float] = Field(description="seconds in each stage")
    peak_memory_bytes: int | None = Field(default=None, description="of the job, at the most")
