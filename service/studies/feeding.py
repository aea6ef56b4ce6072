"""Studies are fed to the queue: a window of jobs at a time, by every gateway, and no cell twice."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import structlog

from api_schemas.errors import LayercutError
from api_schemas.studies.grid import Coordinates
from service.ceilings import check_queue
from service.failures import log_failure
from service.state import GatewayState
from service.studies.admitting import Admitter
from service.studies.early import judge_pilots
from service.studies.grids import StoredGrid
from service.studies.kept_admitters import Patience
from store.creating import NewJob
from store.study_feeding import Fed, Ready, Standing, Waiting

log = structlog.get_logger("layercut.studies")

#: Jobs of one transaction: others write in between.
AT_ONCE = 25
#: How long one study is fed in a round, and how many are at a time.
ROUND_SECONDS, THREADS = 5.0, 4

CHANGED = (
    "the model or the data changed since the study was asked for: its other cells are of what was there then. Ask for"
    " another study"
)

#: What a source answers that does not have what is asked for.
MISSING = frozenset({"model_not_found", "dataset_not_found", "upload_not_found", "job_not_found"})


def feed_studies(state: GatewayState) -> None:
    """One step of the gateway's upkeep. Where nothing runs, it is one small question.

    Several at a time, each for so long and no longer: one whose models are slow to look at holds up no other's.
    """
    running = state.studies.running()
    state.admitters.forget_others(set(running))
    if len(running) < 2:
        for study_id in running:
            feed_quietly(state, study_id)
        return
    with ThreadPoolExecutor(min(len(running), THREADS), thread_name_prefix="studies") as pool:
        list(pool.map(partial(feed_quietly, state), running))


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
    if now.spent is not None and now.free and state.studies.link_known(study_id):
        now = state.studies.standing(study_id) or now
    if not now.open or now.spent is not None:
        _rest(state, now)
        return
    if now.held:
        judge_pilots(state, study_id, now.actor)
        now = state.studies.standing(study_id) or now
    if now.free and _has_room(state, now):
        _fill(state, now)


def _rest(state: GatewayState, now: Standing) -> None:
    """Finish, or pause."""
    if not now.open:
        if state.studies.finish(now.id):
            log.info("study_finished", study_id=now.id)
    elif now.spent is not None and state.studies.pause(now.id, now.spent):
        log.info("study_paused", study_id=now.id, reason=now.spent)


def _has_room(state: GatewayState, now: Standing) -> bool:
    """Whether looking at cells is worth it: a window is filled again once a quarter of it is free."""
    window = state.settings.study_window
    few = now.queued and window - now.queued < max(1, window // 4)
    return not few and not _is_full(state) and state.studies.has_room(now.actor.tenant)


def _fill(state: GatewayState, now: Standing) -> None:
    """Queue jobs until the window is full, nothing waits, or it was long enough."""
    request, stored = state.studies.grids(now.id)
    grids = [StoredGrid.read(request, grid) for grid in stored]
    window, until = state.settings.study_window, time.monotonic() + ROUND_SECONDS
    queued, after, more = now.queued, -1, True
    with state.admitters.of(now.id, lambda: Admitter(state, now.actor, ROUND_SECONDS)) as (admitter, patience):
        round_ = _Round(state, now.id, admitter, patience, grids)
        while more and queued < window and time.monotonic() < until:
            cells = state.studies.next_cells(now.id, min(AT_ONCE, window - queued), after)
            if not cells or _is_full(state):
                return
            fed = round_.feed(cells)
            queued, after, more = queued + fed.jobs, cells[-1].place, fed.more
            if fed.jobs:
                state.wakeups.wake(fed.jobs)


def _is_full(state: GatewayState) -> bool:
    """Whether no more jobs may wait, of anybody's."""
    try:
        check_queue(state)
    except LayercutError:
        return True
    return False


class _Round:
    """One look at the cells of a study that wait. Those whose model or data are away now wait for the next."""

    def __init__(
        self, state: GatewayState, study_id: str, admitter: Admitter, patience: Patience, grids: Sequence[StoredGrid]
    ) -> None:
        self._state, self._id, self._admitter, self._patience, self._grids = state, study_id, admitter, patience, grids
        self._away: set[Hashable] = set()

    def feed(self, cells: Sequence[Waiting]) -> Fed:
        ready: list[Ready] = []
        refused: dict[int, str] = {}
        for cell in (cell for cell in cells if _source(cell) not in self._away):
            try:
                job = self._job(cell)
            except LayercutError as error:
                if self._passes(cell, error):
                    log.info("study_waits", study_id=self._id, why=error.message)
                    self._away.add(_source(cell))
                else:
                    refused[cell.number] = error.message
                continue
            if job is not None:
                ready.append(Ready(cell, job))
        if refused:
            self._state.studies.impossible(self._id, refused)
        return self._state.studies.begin(self._id, ready, self._state.settings.study_window) if ready else Fed(0, True)

    def _passes(self, cell: Waiting, error: LayercutError) -> bool:
        """What cannot be found now was there when the study was asked for, and may be again."""
        if error.kind.retryable:
            return True
        return error.code in MISSING and not self._patience.is_gone(_source(cell), self._state.admitters.clock())

    def _job(self, cell: Waiting) -> NewJob | None:
        """None where it is better to wait."""
        number, *places = cell.at
        grid, at = self._grids[number], Coordinates(*places)
        body = grid.body(at, cell.strategy)
        admitted = self._admitter.admit(grid.pinned(at, body))
        self._patience.is_there(_source(cell))
        if admitted.unsure and self._patience.waits(_source(cell), self._state.admitters.clock()):
            self._away.add(_source(cell))
            return None
        if None not in (cell.content, admitted.content) and cell.content != admitted.content:
            raise LayercutError("cells_impossible", CHANGED)
        return NewJob(
            admitted.request, body, admitted.resolved, study=self._id, fingerprint=admitted.fingerprint,
            inputs=admitted.inputs,
        )  # fmt: skip


def _source(cell: Waiting) -> Hashable:
    """What cells have alike that read the same: the grid, and its model, task and recovery."""
    return cell.at[:4]
