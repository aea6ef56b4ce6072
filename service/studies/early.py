"""Early stopping: what the search of `auto` has found to be out in its bracket is not run in full."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from api_schemas.errors import LayercutError
from api_schemas.reports import Bracket, Candidate, Report, Search
from service.published import Published
from service.state import GatewayState
from sources.strict_json import limit_of
from store.audit import Actor
from store.passing import passing
from store.study_feeding import Held, Pilot

REPORT = "report.json"


def judge_pilots(state: GatewayState, study_id: str, actor: Actor) -> None:
    """Let cells run, or stop them, whose pilot has ended; one that did not succeed decides nothing."""
    for pilot in state.studies.ended_pilots(study_id):
        try:
            search = _search(state, actor, pilot)
        except LayercutError as error:
            if passing(error) is not None:
                continue
            search = None
        out = {} if search is None else out_of(search, pilot.held)
        state.studies.judge(study_id, pilot, out)


def _search(state: GatewayState, actor: Actor, pilot: Pilot) -> Search | None:
    """Of the pilot's report. Raises as ``Published``."""
    if pilot.artifact is None or pilot.job_id is None:
        return None
    found = Published(state, state.store.of(actor), pilot.job_id)
    text = found.start(found.manifest.find(REPORT), limit_of(REPORT))
    try:
        return Report.model_validate_json(text).search
    except ValidationError:
        return None


def out_of(search: Search, held: Sequence[Held]) -> dict[int, str]:
    """Those of the cells whose layers did not come to the last rung of their bracket, each with its numbers."""
    found: dict[int, str] = {}
    for cell in held:
        size = search.chosen if cell.dropped is None else len(cell.dropped)
        bracket = next((bracket for bracket in search.brackets if bracket.drop == size and bracket.candidates), None)
        candidate = None if bracket is None else _candidate(bracket, cell)
        if bracket is None or candidate is None or not candidate.trials:
            continue
        rungs = max(len(one.trials) for one in bracket.candidates)
        if len(candidate.trials) < rungs:
            found[cell.number] = _reason(bracket, candidate)
    return found


def _candidate(bracket: Bracket, cell: Held) -> Candidate | None:
    """By its layers, and where they are not known before they are measured, by its strategy."""
    if cell.dropped is not None:
        wanted = sorted(cell.dropped)
        same = next((one for one in bracket.candidates if sorted(one.dropped) == wanted), None)
        if same is not None:
            return same
    return next((one for one in bracket.candidates if cell.strategy in one.strategies), None)


def _reason(bracket: Bracket, candidate: Candidate) -> str:
    last, rung = candidate.last, len(candidate.trials) - 1
    best = bracket.best.trials[rung].distance if rung < len(bracket.best.trials) else bracket.best.last.distance
    layers = f"{bracket.drop} layer{'' if bracket.drop == 1 else 's'}"
    if last.distance is None:
        return f"in the bracket of {layers} its training diverged after {last.steps} steps: it was out"
    beside = "" if best is None else f", the best's {best:.2g}"
    return (
        f"in the bracket of {layers} its answers were {last.distance:.2g} from the full model's after {last.steps}"
        f" steps{beside}: it was out"
    )
