"""Rows of a study's table, as figures are drawn of them."""

from __future__ import annotations

from typing import Any

from api_schemas.studies.shown import (
    CellState,
    PublishedNumber,
    ShownInterval,
    Spread,
    StudyCell,
    StudyRow,
)


def row(strategy: str, drop: int, score: float | None, **changed: Any) -> StudyRow:
    """Of a model with six layers whose full score is 80; a layer takes 5 of 40 ms."""
    cell = StudyCell(number=drop, seed=1, state=CellState.SUCCEEDED, job_id=f"job_{strategy}_{drop}")
    made = StudyRow(
        model="acme/mini", task="rte", strategy=strategy, drop=drop, recovery="finetune", effort="auto", cells=[cell],
        layers_total=6, layers_kept=6 - drop, metric="accuracy", score_before=Spread(mean=80.0, std=0.5, count=2),
        score_after=None if score is None else Spread(mean=score, std=1.0, count=2),
        retention_interval=None if score is None
        else ShownInterval(low=score / 80 - 0.02, high=score / 80 + 0.02, confidence=0.95),
        parameters_after=22_000_000 - drop * 1_770_000, latency_ms=Spread(mean=40.0 - 5 * drop, std=0.1, count=2),
    )  # fmt: skip
    return made.model_copy(update=changed)


def published(score: float) -> PublishedNumber:
    return PublishedNumber(score=score, source="arXiv 2004.03844v3, table 2")
