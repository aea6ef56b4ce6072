"""Cells as jobs that can be done: thousands differ in little, and what they have alike is looked at once."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

import structlog
from pydantic import ValidationError

from api_schemas.errors import LayercutError
from api_schemas.requests import JobRequest
from api_schemas.resolved import ResolvedRequest
from service.admission import Seen, admit_as, see
from service.ceilings import check_request, under_ceilings
from service.state import GatewayState
from service.version import VERSION
from sources.blocks import Cancelled
from sources.job_identity import JobIdentities, identify_job, job_fingerprint
from store.audit import Actor
from store.file_states import as_they_were
from store.passing import passing

log = structlog.get_logger("layercut.studies")

#: Hashing a model of many gigabytes takes longer than whoever asks should wait: the next who asks goes on from there.
HASH_SECONDS = 20.0


class Admitted(NamedTuple):
    """What a cell asks for, and what its job will do. Without a ``fingerprint``, no other job's result is its own.
    ``content`` is of its model and data, by the files ``inputs``.
    """

    request: JobRequest
    resolved: ResolvedRequest
    fingerprint: str | None
    seen: Seen
    content: str | None = None
    inputs: Sequence[Sequence[Any]] = ()
    #: Model or data are not hashed yet, or cannot be reached: whoever can wait asks again, and that goes on.
    unsure: bool = False


@dataclass(frozen=True)
class _Identified:
    """What jobs read; None where that is not known. ``seen``: the files that it is of, as they were."""

    ids: JobIdentities | None
    seen: Sequence[Sequence[Any]] = ()
    unsure: bool = False


class Admitter:
    """For the cells of one actor. Use as a context manager: what was fetched of their data stays while it is open."""

    def __init__(self, state: GatewayState, actor: Actor, hash_seconds: float = HASH_SECONDS) -> None:
        self._state, self._actor, self._hash_seconds = state, actor, hash_seconds
        self._seen: dict[str, Seen | LayercutError] = {}
        self._identified: dict[str, _Identified] = {}
        self._held = ExitStack()
        self.look_again()

    def look_again(self) -> None:
        """Forget what could not be had, and what has changed since; the time to hash in begins anew."""
        until = time.monotonic() + self._hash_seconds
        self._hashes = self._state.hashes.until(lambda: time.monotonic() > until)
        self._identified = {
            key: found for key, found in self._identified.items() if found.ids and as_they_were(found.seen)
        }
        known = {_key_of(alike) for alike in self._identified}
        self._seen = {key: found for key, found in self._seen.items() if key in known}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def admit(self, body: dict[str, Any]) -> Admitted:
        """Raises ``LayercutError`` as ``POST /v1/jobs`` does for the same body."""
        request = under_ceilings(_validated(body), self._state.settings)
        check_request(request, self._state.settings)
        key = _looked_at(request)
        seen = self._see(key, request)
        resolved = admit_as(request, seen)
        pinned = request.model_copy(update={"model": resolved.model})
        self._seen.setdefault(_looked_at(pinned), seen)
        found = self._identity(key, request, resolved, seen)
        if found.ids is None:
            return Admitted(request, resolved, None, seen, unsure=found.unsure)
        fingerprint = job_fingerprint(resolved, found.ids, VERSION)
        return Admitted(request, resolved, fingerprint, seen, found.ids.content, found.seen)

    def _see(self, key: str, request: JobRequest) -> Seen:
        found = self._seen.get(key)
        if found is None:
            found = self._seen[key] = self._look(request)
        if isinstance(found, LayercutError):
            raise found
        return found

    def _look(self, request: JobRequest) -> Seen | LayercutError:
        named = self._held.enter_context(self._state.named_sources(self._actor))
        try:
            return see(request, self._state.settings, named)
        except LayercutError as error:
            return error

    def _identity(self, key: str, request: JobRequest, resolved: ResolvedRequest, seen: Seen) -> _Identified:
        if seen.looked.facts is None or resolved.recovery is None:
            return _UNKNOWN
        # Whether it trains is of the recovery's method, and not of what was looked at.
        alike = f"{resolved.recovery.method} {resolved.task.max_train_rows} {key}"
        if alike not in self._identified:
            self._identified[alike] = self._identify(request, resolved, seen)
        return self._identified[alike]

    def _identify(self, request: JobRequest, resolved: ResolvedRequest, seen: Seen) -> _Identified:
        """Where it cannot be known, the job runs, whatever was done before."""
        facts, settings, hashes = seen.looked.facts, seen.looked.settings, self._hashes.noting()
        assert facts is not None
        try:
            stored = None if seen.stored is None else seen.stored.known(hashes)
            ids = identify_job(resolved, facts, settings, hashes, stored, keeps_modules=request.keeps_modules)
        except (LayercutError, OSError, Cancelled) as error:
            log.info("study_not_identified", why=f"{type(error).__name__}: {error}"[:500])
            return _Identified(None, unsure=isinstance(error, Cancelled) or passing(error) is not None)
        return _Identified(ids, hashes.seen)


_UNKNOWN = _Identified(None)


def _validated(body: dict[str, Any]) -> JobRequest:
    try:
        return JobRequest.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        param = "".join(f"/{part}" for part in first["loc"])
        text = str(first["msg"]).removeprefix("Value error, ")
    raise LayercutError("validation_failed", text, param=param or None)


def _key_of(alike: str) -> str:
    return alike.split(" ", 2)[2]


def _looked_at(request: JobRequest) -> str:
    """What jobs have alike that are looked at once."""
    text = request.recovery.text
    parts = (
        request.model.model_dump_json(), request.task.model_dump_json(), request.prune.calibration.model_dump_json(),
        text and text.model_dump_json(), request.recovery.from_, request.keeps_modules,
    )  # fmt: skip
    return json.dumps(parts)
