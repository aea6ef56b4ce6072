"""A study as a service would show it, made of as little as a test says."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from api_schemas.studies.shown import Spread, Study, StudyCell, StudyProgress, StudyRow, StudyStatus

BEGAN = datetime(2026, 11, 30, 12, tzinfo=UTC)


def cell(
    number: int, state: str = "succeeded", *, seed: int = 42, after: float | None = None, **more: Any
) -> StudyCell:
    if state == "succeeded" and after is None:
        after = 89.0
    scores = {} if after is None else {"score_before": 90.0, "score_after": after, "retention": after / 90.0}
    found = {"outcome": "undecided"} if after is not None else {}
    return StudyCell.model_validate({"number": number, "seed": seed, "state": state, **scores, **found, **more})


def row(*cells: StudyCell, **more: Any) -> StudyRow:
    """Of the cells that have ended, the means are worked out."""
    base = {"model": "m/MiniLM", "task": "rte", "strategy": "top", "drop": 2, "recovery": "distill", "effort": "auto"}
    scores = [one.score_after for one in cells if one.score_after is not None]
    if scores:
        mean = sum(scores) / len(scores)
        base |= {
            "score_before": Spread(mean=90.0, count=len(scores)),
            "score_after": Spread(mean=mean, std=0.5 if len(scores) > 1 else None, count=len(scores)),
            "retention": Spread(mean=mean / 90.0, count=len(scores)),
            "speedup": Spread(mean=1.5, count=len(scores)),
            "bytes_before": 90_000_000,
            "bytes_after": 60_000_000,
        }
    return StudyRow.model_validate({**base, "cells": list(cells), **more})


def study(*rows: StudyRow, status: str = "running", **more: Any) -> Study:
    states = Counter(one.state for found in rows for one in found.cells)
    ended = sum(count for state, count in states.items() if not state.open)
    progress = StudyProgress(
        cells=states.total(), by_state=dict(states), fraction=ended / max(1, states.total()), eta_seconds=120.0,
        jobs=states.total(), known=more.pop("known", 0), minutes=3.0, gpu_hours=0.0,
    )  # fmt: skip
    at_rest = StudyStatus(status) is not StudyStatus.RUNNING
    if at_rest:
        progress.eta_seconds = None
    base = {
        "id": "study_1", "name": None, "status": status, "created_at": BEGAN, "request": {}, "budget": {},
        "finished_at": BEGAN if status == "finished" else None, "progress": progress, "table": list(rows),
    }  # fmt: skip
    return Study.model_validate({**base, **more})
