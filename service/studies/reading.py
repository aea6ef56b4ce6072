"""A study as it is answered: how far it is, and its table."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from api_schemas.jobs import Result
from api_schemas.requests import EvaluationSpec
from api_schemas.studies.grid import Coordinates
from api_schemas.studies.request import Grid
from api_schemas.studies.shown import CellState, Study, StudyHead, StudyList, StudyProgress, StudyStatus
from api_schemas.studies.table import CellFacts, table_of, warnings_of
from service.edge.root_path import address
from service.state import GatewayState
from service.studies.grids import Labels, effort_of, labels_of, read_grid
from store.audit import Actor
from store.study_rows import CellRow, StudyRows, Tally
from store.workers import LIVING_SECONDS

ADDRESSES = {
    "table_csv": "/table.csv",
    "table_md": "/table.md",
    "pick": "/pick",
    "cancel": "/cancel",
    "resume": "/resume",
    "cells": "/cells",
    "figures_score": "/figures/score_by_layers.svg",
    "figures_pareto": "/figures/pareto.svg",
}


def read_study(state: GatewayState, actor: Actor, study_id: str) -> Study:
    """Raises ``study_not_found``, also for another tenant's. Asks the database, twice or thrice."""
    return shown(state.studies.of(actor).get(study_id), workers_of(state))


def list_studies(state: GatewayState, actor: Actor, after: str | None, limit: int) -> StudyList:
    """One page, newest first. Raises ``invalid_cursor``."""
    page, has_more = state.studies.of(actor).page(after=after, limit=limit)
    workers = workers_of(state) if page else 0
    heads = [_head(rows, workers) for rows in page]
    return StudyList(data=heads, has_more=has_more, next_cursor=heads[-1].id if heads and has_more else None)


def workers_of(state: GatewayState) -> int:
    """How many live."""
    return len(state.workers.living(LIVING_SECONDS))


def shown(rows: StudyRows, workers: int) -> Study:
    """``workers``: how many there are to do what is open. The table is empty of rows without cells."""
    facts, base = facts_of(rows), address(f"/v1/studies/{rows.id}")
    status = _status(rows)
    return Study(
        id=rows.id,
        name=rows.name,
        status=status,
        status_reason=rows.status_reason,
        created_at=rows.created_at,
        finished_at=_finished(rows, status),
        request=rows.request,
        budget=rows.budget,
        progress=progress_of(rows, workers),
        table=table_of(facts),
        warnings=warnings_of(facts),
        urls={"self": base, **{name: base + end for name, end in ADDRESSES.items()}},
    )


def _head(rows: StudyRows, workers: int) -> StudyHead:
    status = _status(rows)
    return StudyHead(
        id=rows.id,
        name=rows.name,
        status=status,
        created_at=rows.created_at,
        finished_at=_finished(rows, status),
        progress=progress_of(rows, workers),
    )


def _is_open(rows: StudyRows) -> bool:
    return any(tally.state.open for tally in rows.tallies)


def _status(rows: StudyRows) -> StudyStatus:
    """A job that was asked for again by itself opens a study that had finished."""
    if rows.status is StudyStatus.FINISHED and _is_open(rows):
        return StudyStatus.RUNNING
    if rows.status is StudyStatus.RUNNING and not _is_open(rows):
        return StudyStatus.FINISHED  # whoever feeds it has not seen that yet
    return rows.status


def _finished(rows: StudyRows, status: StudyStatus) -> datetime | None:
    if status in (StudyStatus.PAUSED, StudyStatus.RUNNING) or _is_open(rows):
        return None
    return rows.stopped_at or rows.now


def facts_of(rows: StudyRows) -> list[CellFacts]:
    """What is known of its cells, in their order."""
    grids = [read_grid(stored) for stored in rows.grids]
    labels = labels_of(grids)
    evaluation = (rows.request.get("job") or {}).get("evaluation") or {}
    margin = EvaluationSpec.model_validate(evaluation).margin
    return [_facts(cell, grids, labels, margin) for cell in rows.cells]


def _facts(cell: CellRow, grids: list[Grid], labels: Labels, margin: float) -> CellFacts:
    grid_number, model, task, recovery, _, _, drop, seed = cell.at
    grid = grids[grid_number]
    spec = grid.tasks[task]
    return CellFacts(
        number=cell.number,
        model=labels.models[grid_number][model],
        task=labels.tasks[grid_number][task],
        strategy=cell.strategy,
        drop=grid.drops[drop],
        recovery=labels.recoveries[grid_number][recovery],
        effort=effort_of(grid, Coordinates(*cell.at[1:])),
        seed=grid.seeds[seed],
        state=cell.state,
        reason=cell.reason,
        job_id=cell.job_id,
        known=cell.known,
        fraction=1.0 if cell.state is CellState.SUCCEEDED else float((cell.progress or {}).get("fraction") or 0.0),
        result=_result(cell.result),
        margin=margin,
        layers_total=cell.layers_total,
        dropped=cell.dropped,
        has_files=cell.has_files,
        own_data=spec.dataset is not None,
        model_id=grid.models[model].id,
        task_name=spec.label,
        spec=grid.recoveries[recovery],
        max_train_rows=spec.max_train_rows,
    )


def _result(told: dict[str, Any] | None) -> Result | None:
    """What another version wrote may lie outside the bounds of this one: it must not spoil the table."""
    try:
        return None if told is None else Result.model_validate(told)
    except ValidationError:
        return None


def progress_of(rows: StudyRows, workers: int) -> StudyProgress:
    cells = Counter[CellState]()
    for tally in rows.tallies:
        cells[tally.state] += tally.cells
    count = cells.total()
    begun = sum(tally.fractions for tally in rows.tallies if tally.state is CellState.RUNNING)
    open_ = sum(number for state, number in cells.items() if state.open)
    left = open_ - begun
    minutes = ((rows.stopped_at or rows.now) - rows.began_at).total_seconds() / 60
    own = [tally for tally in rows.tallies if not tally.known]
    return StudyProgress(
        cells=count,
        by_state={state: cells[state] for state in CellState if cells[state]},
        fraction=1 - left / count if count else 1.0,
        eta_seconds=_eta(own, left, max(1, min(open_, max(cells[CellState.RUNNING], workers)))),
        jobs=rows.begun,
        known=sum(tally.cells for tally in rows.tallies if tally.known),
        minutes=max(0.0, minutes),
        gpu_hours=sum(tally.gpu_seconds for tally in own) / 3600,
    )


def _eta(own: list[Tally], left: float, workers: int) -> float | None:
    """By the mean of the jobs that have ended; null until one has."""
    timed = sum(tally.timed for tally in own)
    return sum(tally.seconds for tally in own) / timed * left / workers if timed else None
