"""Cells as jobs that can be done: thousands differ in little, and what they have alike is looked at once."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
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

log = structlog.get_logger("layercut.studies")

#: Hashing a model of many gigabytes takes longer than whoever asks should wait: the next who asks goes on from there.
HASH_SECONDS = 20.0


class Admitted(NamedTuple):
    """What a cell asks for, and what its job will do. Without a ``fingerprint``, no other job's result is its own."""

    request: JobRequest
    resolved: ResolvedRequest
    fingerprint: str | None
    seen: Seen


class Admitter:
    """For the cells of one actor. Use as a context manager: what was fetched of their data stays while it is open."""

    def __init__(self, state: GatewayState, actor: Actor) -> None:
        self._state, self._actor = state, actor
        self._seen: dict[str, Seen | LayercutError] = {}
        self._identified: dict[str, JobIdentities | None] = {}
        self._held = ExitStack()
        until = time.monotonic() + HASH_SECONDS
        self._hashes = state.hashes.until(lambda: time.monotonic() > until)

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
        return Admitted(request, resolved, self._fingerprint(key, resolved, seen), seen)

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

    def _fingerprint(self, key: str, resolved: ResolvedRequest, seen: Seen) -> str | None:
        if seen.looked.facts is None or resolved.recovery is None:
            return None
        # Whether it trains is of the recovery's method, and not of what was looked at.
        alike = f"{resolved.recovery.method} {resolved.task.max_train_rows} {key}"
        if alike not in self._identified:
            self._identified[alike] = self._identify(resolved, seen)
        ids = self._identified[alike]
        return None if ids is None else job_fingerprint(resolved, ids, VERSION)

    def _identify(self, resolved: ResolvedRequest, seen: Seen) -> JobIdentities | None:
        """None where it cannot be known: the job runs, whatever was done before."""
        assert seen.looked.facts is not None
        try:
            stored = None if seen.stored is None else seen.stored.known(self._hashes)
            return identify_job(resolved, seen.looked.facts, seen.looked.settings, self._hashes, stored)
        except (LayercutError, OSError, Cancelled) as error:
            log.info("study_not_identified", why=f"{type(error).__name__}: {error}"[:500])
            return None


def _validated(body: dict[str, Any]) -> JobRequest:
    try:
        return JobRequest.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        param = "".join(f"/{part}" for part in first["loc"])
        text = str(first["msg"]).removeprefix("Value error, ")
    raise LayercutError("validation_failed", text, param=param or None)


def _looked_at(request: JobRequest) -> str:
    """What jobs have alike that are looked at once."""
    text = request.recovery.text
    parts = (
        request.model.model_dump_json(), request.task.model_dump_json(), request.prune.calibration.model_dump_json(),
        text and text.model_dump_json(), request.recovery.from_, request.keeps_modules,
    )  # fmt: skip
    return json.dumps(parts)
