"""Studies are fed to the queue: a window of jobs at a time, by every gateway, and no cell twice."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from api_schemas.errors import LayercutError
from api_schemas.studies.grid import Coordinates
from service.ceilings import check_queue
from service.failures import log_failure
from service.state import GatewayState
from service.studies.admitting import Admitter
from service.studies.early import judge_pilots
from service.studies.grids import StoredGrid
from store.creating import NewJob
from store.study_feeding import Fed, Ready, Standing, Waiting

log = structlog.get_logger("layercut.studies")

#: Jobs of one transaction: others write in between.
AT_ONCE = 25


def feed_studies(state: GatewayState) -> None:
    """One step of the gateway's upkeep. Where nothing runs, it is one small question."""
    for study_id in state.studies.running():
        feed_quietly(state, study_id)


def feed_quietly(state: GatewayState, study_id: str) -> None:
    """As ``feed_study``; what it could not do, it does in the next round."""
    try:
        feed_study(state, study_id)
    except Exception as error:  # noqa: BLE001 - the other studies are fed all the same
        log_failure(log, "study_not_fed", error, study_id=study_id)


def feed_study(state: GatewayState, study_id: str) -> None:
    """Do what is due of one: judge, pause, finish, and queue what there is room for."""
    now = state.studies.standing(study_id)
    if now is None:
        return
    if not now.open:
        if state.studies.finish(study_id):
            log.info("study_finished", study_id=study_id)
        return
    if now.spent is not None:
        if state.studies.pause(study_id, now.spent):
            log.info("study_paused", study_id=study_id, reason=now.spent)
        return
    if now.held:
        judge_pilots(state, study_id, now.actor)
        now = state.studies.standing(study_id) or now
    if now.free:
        _fill(state, now)


def _fill(state: GatewayState, now: Standing) -> None:
    """Queue jobs until the window is full or nothing waits."""
    request, stored = state.studies.grids(now.id)
    grids = [StoredGrid.read(request, grid) for grid in stored]
    window = state.settings.study_window
    queued, more = now.queued, True
    with Admitter(state, now.actor) as admitter:
        while more and queued < window:
            cells = state.studies.next_cells(now.id, min(AT_ONCE, window - queued))
            if not cells or _is_full(state):
                return
            fed = _feed(state, now.id, admitter, grids, cells)
            queued, more = queued + fed.jobs, fed.more
            if fed.jobs:
                state.wakeups.wake(fed.jobs)


def _is_full(state: GatewayState) -> bool:
    """Whether no more jobs may wait, of anybody's."""
    try:
        check_queue(state)
    except LayercutError:
        return True
    return False


def _feed(
    state: GatewayState, study_id: str, admitter: Admitter, grids: Sequence[StoredGrid], cells: Sequence[Waiting]
) -> Fed:
    ready: list[Ready] = []
    refused: dict[int, str] = {}
    for cell in cells:
        try:
            ready.append(Ready(cell, _job(study_id, admitter, grids, cell)))
        except LayercutError as error:
            if error.kind.retryable:
                log.info("study_waits", study_id=study_id, why=error.message)
                break
            refused[cell.number] = error.message
    if refused:
        state.studies.impossible(study_id, refused)
    if not ready:
        return Fed(0, more=len(refused) == len(cells))
    fed = state.studies.begin(study_id, ready, state.settings.study_window)
    return fed._replace(more=fed.more and len(ready) + len(refused) == len(cells))


def _job(study_id: str, admitter: Admitter, grids: Sequence[StoredGrid], cell: Waiting) -> NewJob:
    number, *places = cell.at
    grid, at = grids[number], Coordinates(*places)
    body = grid.body(at, cell.strategy)
    admitted = admitter.admit(grid.pinned(at, body))
    return NewJob(admitted.request, body, admitted.resolved, study=study_id, fingerprint=admitted.fingerprint)
