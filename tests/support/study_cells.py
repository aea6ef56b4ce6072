"""Cells of studies that have ended, and rows of them, as the service knows them."""

from __future__ import annotations

from typing import Any

from api_schemas.jobs import Result
from api_schemas.reports import Interval
from api_schemas.studies.shown import CellState, Spread, StudyCell, StudyRow
from api_schemas.studies.table import CellFacts


def result(before: float | None = 90.0, after: float | None = 88.2, **changed: Any) -> Result:
    """Of a job that dropped the top two of twelve layers; ``reach`` is half of its interval."""
    retention = after / before if before and after is not None else None
    reach, total = changed.pop("reach", 0.02), changed.pop("layers_total", 12)
    dropped = changed.pop("layers_dropped", [total - 2, total - 1])
    interval = None
    if retention is not None and reach is not None:
        interval = Interval(low=retention - reach, high=retention + reach, confidence=0.95, resamples=2000)
    return Result(
        **{
            "layers_total": total,
            "layers_kept": [layer for layer in range(total) if layer not in dropped],
            "layers_dropped": dropped,
            "parameters_before": 110_000_000,
            "parameters_after": 94_000_000,
            "bytes_before": 440_000_000,
            "bytes_after": 376_000_000,
            "metric": None if after is None else "accuracy",
            "score_before": before,
            "score_after": after,
            "retention": retention,
            "retention_interval": interval,
            "speedup": 1.2,
            "latency_ms_after": 10.0,
            "device": "cpu",
            "verdict": "undecided: 277 rows cannot tell" if interval else "not scored: there is no task",
            "outcome": "undecided" if interval else None,
            **changed,
        }
    )


def cell(found: Result | None = None, **changed: Any) -> CellFacts:
    """Of ``top`` on RTE; succeeded where it has a result."""
    facts = {
        "number": 0,
        "model": "bert-base-uncased",
        "task": "rte",
        "strategy": "top",
        "drop": 2,
        "recovery": "finetune",
        "effort": "auto",
        "seed": 1,
        "state": CellState.SUCCEEDED if found else CellState.WAITING,
        "job_id": "job_1" if found else None,
        **changed,
    }
    return CellFacts(result=found, **facts)


def row(score: float | None = 88.0, **changed: Any) -> StudyRow:
    """Of one seed; ``latency`` and ``retention`` are plain numbers."""
    latency, retention = changed.pop("latency", None), changed.pop("retention", None)
    facts = {
        "model": "m",
        "task": "t",
        "strategy": "top",
        "drop": 2,
        "recovery": "auto",
        "effort": "auto",
        "cells": [
            StudyCell(
                number=0,
                seed=1,
                state=CellState.SUCCEEDED,
                job_id=changed.pop("job", "job_1"),
                has_files=True,
                retention=retention,
            )
        ],
        "score_after": None if score is None else Spread(mean=score, count=1),
        "latency_ms": None if latency is None else Spread(mean=latency, count=1),
        "retention": None if retention is None else Spread(mean=retention, count=1),
        **changed,
    }
    return StudyRow(**facts)
