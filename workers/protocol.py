"""What supervisor and runner say to each other: one JSON object a line, over the runner's stdin and stdout.

To the runner goes one ``Handover``, and then a ``CacheAnswer`` to each of its ``CacheRequest``s, and a
``WarningsAnswer`` to its one ``WarningsRequest``; the end of its stdin means that the supervisor is dead. Back come one
``READY`` line, and then events, of which SUCCEEDED or FAILED is the last.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from api_schemas.errors import LayercutError, storable
from api_schemas.events import NEW_EVENT, EventType, NewEvent, failure
from api_schemas.per_stack import FORMS
from api_schemas.requests import JobRequest
from api_schemas.resolved import ResolvedRequest
from sources.inputs import Inputs
from workers.sandbox.confinement import Files

READY = '{"ready": true}'

#: How many bytes of each are stored at most. The other types are the store's own to write.
TOLD_BY_RUNNER = {
    EventType.STAGE: 2**10,
    EventType.RESOLVED: 2**19,  # a search in a model of a hundred layers takes a tenth
    EventType.PROGRESS: 2**10,
    EventType.METRIC: 2**14,  # of one label of 500 characters, which stands there four times
    EventType.LOG: 2**15,
    EventType.SUCCEEDED: 2**16,
    EventType.FAILED: 2**16,
}
#: Of one line: commas and brackets. Each value takes a hundred bytes of memory or more, and so does what is wrong.
MAX_VALUES = 100_000
#: Of what asks, in characters.
LONGEST_REQUEST = 1000


#: All that is in the cache.
CacheKind = Literal[
    "tokenized_data", "baseline", "baseline_logits", "baseline_scores", "layer_importance", "search_bracket", "latency"
]

OLDER_FORM = (
    "{path} is a job file of an older layercut: it has a request, and nothing that was resolved of it. Give the request"
    " alone, which is the body of POST /v1/jobs"
)


class JobFile(BaseModel):
    """``job.json``: the request as sent, what was resolved of it, and which attempt this is.

    A bare request body is taken too: then nothing was resolved before. ``checkpoints`` is a folder that outlives the
    attempt; without one, the runner keeps them in its ``out``.
    """

    model_config = ConfigDict(extra="forbid")

    request: JobRequest
    resolved: ResolvedRequest | None = None
    id: str | None = None
    attempt: int = 1
    checkpoints: Path | None = None

    @classmethod
    def read(cls, path: Path, prepare: Callable[[Any], Any] = lambda request: request) -> JobFile:
        """``prepare`` is given the request before it is looked at.

        Raises ``LayercutError`` (``malformed_request``, ``validation_failed``) that says where the file is wrong, and
        what ``prepare`` raises.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise LayercutError("malformed_request", f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise LayercutError("malformed_request", f"{path} is not JSON: {error}") from error
        if isinstance(found, dict) and "request" in found and "resolved" not in found:
            raise LayercutError("malformed_request", OLDER_FORM.format(path=path))
        try:
            wrapped = _wrapped(found)
            return cls.model_validate({**wrapped, "request": prepare(wrapped["request"])})
        except ValidationError as error:
            raise _explained(error) from error

    def write(self, path: Path) -> None:
        path.write_text(self.model_dump_json(exclude_unset=True), encoding="utf-8")


class Handover(BaseModel):
    """What a waiting runner is given: the job file, the folder for what it makes, its inputs, and a folder for notes
    of its own. The files that ``inputs`` names as descriptors come over the channel that it was born with. Beside those
    it may open ``files`` from then on, and nothing else of the host; None where it is not locked in.
    """

    job: Path
    out: Path
    inputs: Inputs
    notes: Path
    files: Files | None = None


class CacheRequest(BaseModel):
    """The runner wants a thing of the cache; or it has made the thing, in ``seconds``, in the folder it was given."""

    cache: Literal["want", "made"]
    # Both become names of folders.
    kind: CacheKind
    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$")
    seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @property
    def thing(self) -> tuple[str, str]:
        """What is asked for."""
        return self.kind, self.fingerprint


class CacheAnswer(BaseModel):
    """``folder`` holds the thing, which took ``seconds`` to make; where it is not ``made``, it is to be filled."""

    folder: Path
    made: bool
    seconds: float = 0.0


class WarningsRequest(BaseModel):
    """The runner makes its report: what does the supervisor warn of, of which the runner knows nothing?"""

    warnings: Literal["want"]


class WarningsAnswer(BaseModel):
    warnings: list[str]


#: What a runner asks.
RunnerRequest = CacheRequest | WarningsRequest
_REQUEST: TypeAdapter[RunnerRequest] = TypeAdapter(RunnerRequest)


def read_event(line: str) -> NewEvent | None:
    """The event that a line of the runner's stdout tells, its message no longer than any.

    None for a line that tells none, or one with more in it than is kept, or with a number that is not finite.
    """
    if sum(map(line.count, ",[{")) > MAX_VALUES:
        return None
    try:
        return _bounded(NEW_EVENT.validate_json(line))
    except (ValueError, LayercutError) as error:  # the request's own rules say what they have to in our words
        return _broken_ending(line, error)


def _bounded(event: NewEvent) -> NewEvent | None:
    if event.type not in TOLD_BY_RUNNER:
        return None
    kept = event.model_copy(update={"message": storable(event.message)})
    size, most = stored_bytes(kept), TOLD_BY_RUNNER[event.type]
    if size > most:
        raise ValueError(f"it has {size} bytes, and {most} are kept at most")
    if event.type == EventType.RESOLVED:  # with every default, as the row has it: whoever reads the job reads that too
        type(event.data).model_validate(event.data.model_dump(mode="json"))
    return kept


def stored_bytes(event: NewEvent) -> int:
    """What the event takes in the store; raises ``ValueError`` for numbers that are not finite."""
    data = event.data.model_dump(mode="json", exclude_unset=True)
    return len(event.message.encode()) + len(json.dumps(data, allow_nan=False))


def _broken_ending(line: str, error: Exception) -> NewEvent | None:
    """A failure in place of an ending that cannot be read: the job must not be tried again for it."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    kind = found.get("type") if isinstance(found, dict) else None
    if kind not in (EventType.SUCCEEDED, EventType.FAILED):
        return None
    return failure(LayercutError("internal", f"the runner's {kind} is not understood: {error}"))


def read_request(line: str) -> RunnerRequest | None:
    """What a line of the runner's stdout asks; None for a line that asks nothing."""
    if len(line) > LONGEST_REQUEST:
        return None
    try:
        return _REQUEST.validate_json(line)
    except ValidationError:
        return None


def _wrapped(found: Any) -> Any:
    return found if isinstance(found, dict) and "request" in found else {"request": found}


def _explained(error: ValidationError) -> LayercutError:
    faults = [(_pointer(fault["loc"]), fault["msg"]) for fault in error.errors(include_url=False)]
    text = "; ".join(f"{pointer or '/'}: {message}" for pointer, message in faults)
    return LayercutError("validation_failed", text, param=faults[0][0])


def _pointer(place: tuple[int | str, ...]) -> str:
    """A JSON pointer into the request."""
    return "".join(f"/{part}" for part in place if part not in ("request", *FORMS))
