"""How far something is, in words: of a job or a study, on a terminal, in a log and in an event's message alike."""

from __future__ import annotations

from collections.abc import Mapping

from api_schemas.durations import about
from api_schemas.jobs import Stage
from api_schemas.studies.shown import CellState

#: Between two things that are said of one.
AND = "  "
_PLACES = {stage.value: at for at, stage in enumerate(Stage, 1)}


def percent(fraction: float) -> str:
    """Done is said of what is done: 99.6 % is 99."""
    return f"{min(99, round(100 * fraction)) if fraction < 1 else 100} %"


def left(seconds: float | None) -> str:
    """Nothing, where it cannot be told yet."""
    return "" if seconds is None else f"{about(seconds)} left"


def stage_of(stage: str | None) -> str:
    """``6/11 recovering``; a stage that this version does not know is its name."""
    if not stage:
        return ""
    return f"{_PLACES[stage]}/{len(_PLACES)} {stage}" if stage in _PLACES else stage


def doing(stage: str | None, step: int | None = None, total_steps: int | None = None, loss: float | None = None) -> str:
    """``6/11 recovering  step 120 of 480  loss 0.2314``."""
    where = None if step is None else f"step {step} of {total_steps}"
    return AND.join(filter(None, [stage_of(stage), where, loss_of(loss)]))


def loss_of(loss: float | None) -> str:
    return "" if loss is None else f"loss {loss:.4g}"


def cells_of(by_state: Mapping[CellState, int], known: int = 0) -> str:
    """``2 running  40 queued  12 succeeded (5 known)``: the states that some are in."""
    counts = {state: by_state.get(state, 0) for state in CellState}
    said = {CellState.SUCCEEDED: f" ({known} known)" if known else ""}
    return AND.join(f"{count} {state.value}{said.get(state, '')}" for state, count in counts.items() if count)
