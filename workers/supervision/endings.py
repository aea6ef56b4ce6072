"""The ways in which an attempt can end, as the attempt hears of them."""

from __future__ import annotations

from dataclasses import dataclass

from api_schemas.errors import RULE_BREAKERS, LayercutError
from api_schemas.events import EventBody, FailedData, NewEvent
from workers.supervision.input_staging import StagingFailed
from workers.supervision.lease_session import Interrupt
from workers.supervision.room import is_full
from workers.supervision.runner_process import Exit
from workers.supervision.scratch import Scratch

STOPPING = "the worker was told to stop and handed the job back"
SCRATCH_GONE = "the folder that its runner worked in was deleted"


@dataclass(frozen=True)
class Lost:
    """The attempt came to nothing, though its runner may go on. ``error`` is the job's, where it was the last."""

    reason: str
    error: LayercutError | None = None

    @classmethod
    def by(cls, error: LayercutError) -> Lost:
        return cls(f"{error.code}: {error.message}", error)

    def __str__(self) -> str:
        return self.reason


def lost_by(exit_: Exit, scratch: Scratch) -> Lost:
    """Why the runner is gone, as far as the host tells."""
    error = exit_.error
    if error is None and is_full(scratch.folder):
        error = LayercutError("storage_full", f"{exit_}, and the worker's disk is full")
    return Lost(SCRATCH_GONE if scratch.gone else str(exit_), error)


Ending = NewEvent | Exit | Interrupt | StagingFailed | Lost


class Interrupted(Exception):
    """Nobody waits for what the attempt is doing any more."""

    def __init__(self, why: Interrupt) -> None:
        super().__init__(why)
        self.why = why


def kind_of(ending: Ending) -> object:
    """What tells the endings apart: the type of an event, an interrupt itself, or else the class."""
    if isinstance(ending, EventBody):
        return ending.type
    return ending if isinstance(ending, Interrupt) else type(ending)


def words_of(ending: Ending) -> str:
    """How it ended, for people."""
    if isinstance(ending, EventBody):
        return f"the runner told {ending.type}: {ending.message}"
    return ending.error.message if isinstance(ending, StagingFailed) else str(ending)


def at_once(ending: Ending) -> bool:
    """Whether the runner is killed without time to leave."""
    failed = ending.data if isinstance(ending, EventBody) else None
    breaks_rules = isinstance(failed, FailedData) and failed.error.code in RULE_BREAKERS
    return breaks_rules or isinstance(ending, Interrupt | Lost | StagingFailed)
