"""A report as a job leaves it."""

from __future__ import annotations

from typing import Any

from api_schemas.architectures import ModelFacts
from api_schemas.recovery import RecoverySpec, resolve_recovery
from api_schemas.reports import (
    Check,
    Decision,
    Device,
    Interval,
    Latency,
    LayerMap,
    Measurements,
    Report,
    ReportedData,
    ReportedStrategy,
    ReportedTask,
    Split,
    Training,
    Verification,
)
from api_schemas.task_kinds import TASK_KINDS

FACTS = ModelFacts(
    id="google-bert/bert-base-uncased",
    revision="86b5e093",
    architecture="bert",
    classes=["BertForMaskedLM"],
    layers=12,
    hidden_size=768,
    license="apache-2.0",
)

CLASSES = TASK_KINDS["classification"]

STRATEGY = ReportedStrategy(
    name="explicit", summary="Drops what it is told.", reference="the request", measure=None, importance=None,
    protected=[], calibration=None,
)  # fmt: skip
TRAINING = Training(
    steps=10, examples=320, tokens=4000, seconds=1.5, examples_per_second=213.3, loss=0.1, precision="fp32",
    learning_rate=3e-5, micro_batch=32, word_embeddings=False, engine="packed", best_score=None, best_epoch=None,
)  # fmt: skip
WHY = "872 rows cannot tell; about 1500 would (-0.83 points, 95% interval -1.50 to +0.25; 0.92 may be lost)"


def latency(p50: float) -> Latency:
    return Latency(batch_size=32, sequence_length=128, p50_ms=p50, p95_ms=p50 + 1, runs=20, examples_per_second=1.0)


def report(**changed: Any) -> Report:
    side = {"bytes": 438_000_000, "metrics": {"accuracy": 92.43}, "score": 92.43, "latency": [latency(100.0)]}
    made = Report(
        layers=LayerMap(total=12, kept=[0, 1, 2, 3, 4, 5, 10, 11], dropped=[6, 7, 8, 9]),
        before=Measurements(parameters=109_483_778, **side),
        after=Measurements(
            parameters=81_131_522, bytes=324_500_000, score=91.6, metrics={"accuracy": 91.6}, latency=[latency(67.0)]
        ),
        retention=0.991,
        speedup=1.4925,
        verdict=f"undecided: {WHY}",
        decision=Decision(
            outcome="undecided",
            margin=0.01,
            margin_points=0.92,
            rows=872,
            rows_needed=1500,
            why=WHY,
        ),
        verification=Verification(
            passed=True,
            checks=[Check(name="hashes", passed=True, detail="5 files have their sha256")],
            versions={"torch": "2.13.0", "transformers": "5.23.0"},
        ),
        job_id="job_1",
        model=FACTS,
        task=ReportedTask(name="sst2", kind="classification", metric="accuracy"),
        strategy=STRATEGY,
        recovery=resolve_recovery(RecoverySpec(), FACTS, kind=CLASSES),
        gain_interval=Interval(low=-1.5, high=0.25, confidence=0.95, resamples=1000),
        training={"recovering": TRAINING},
        data=ReportedData(
            labels=["negative", "positive"], splits={"train": Split(rows=67349, source="glue", sha256="ab12")}
        ),
        warnings=["half of the layers | go"],
        seed=42,
        device=Device(type="cpu", name="Some CPU @ 2.0 GHz"),
        versions={"torch": "2.13.0"},
        timings={"baseline": 1.0},
    )
    return made.model_copy(update=changed)
