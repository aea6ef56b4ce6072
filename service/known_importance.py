"""The importance of layers, and brackets, that jobs have left in the cache; read without a model, a GPU or torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

import structlog

from api_schemas.architectures import ModelFacts
from api_schemas.delivered import Delivered, Start
from api_schemas.errors import LayercutError
from api_schemas.reports import Bracket
from api_schemas.requests import PlanRequest
from api_schemas.strategies import STRATEGIES, LayerImportance
from sources.blocks import Stopped, never
from sources.cached_files import as_bracket, as_importance, bracket_limit, importance_limit, parse_json
from sources.fingerprint import FileHashes
from sources.importance import (
    BRACKET_FILE,
    FILE,
    Asked,
    Identities,
    bracket_fingerprint,
    identify,
    importance_fingerprint,
    search_fingerprint,
)
from sources.settings import SourceSettings
from sources.stored_model import StoredModel
from sources.strict_json import Limit
from store.artifacts import ArtifactStore
from store.cache import CacheStore
from store.passing import passing
from store.tables import DEFAULT_TENANT

log = structlog.get_logger("layercut.cache")

Thing = TypeVar("Thing")

#: Of all brackets that answer one call: of a model of a hundred layers, all of them take one.
BRACKETS_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Known:
    """A request for a plan, and its model's facts. ``delivered`` or ``stored`` where the model is that, ``start`` is
    what recovery starts from; ``settings`` are those that the data is read by.
    """

    request: PlanRequest
    facts: ModelFacts
    settings: SourceSettings
    delivered: Delivered | None = None
    stored: StoredModel | None = None
    start: Start | None = None


@dataclass(frozen=True)
class MeasuredByJob:
    """The importance by measure, and the job that measured it: None where that is another tenant's."""

    importance: dict[str, LayerImportance]
    job_id: str | None


@dataclass(frozen=True)
class _Read(Generic[Thing]):
    """A thing of the cache, the job that made it as in ``MeasuredByJob``, and what its file takes."""

    thing: Thing
    job_id: str | None
    bytes: int


class KnownImportance:
    """``hashes`` are those of the models' files; ``pool`` is the part of the cache that ``tenant`` reads. Raises
    ``Cancelled`` where those who wait for a hash have gone.
    """

    def __init__(
        self,
        cache: CacheStore,
        artifacts: ArtifactStore,
        hashes: FileHashes,
        *,
        tenant: str = DEFAULT_TENANT,
        pool: str = DEFAULT_TENANT,
    ) -> None:
        self._cache, self._artifacts = cache, artifacts
        self._hashes, self._tenant, self._pool = hashes, tenant, pool

    def of(self, tenant: str, pool: str, stopped: Stopped = never) -> KnownImportance:
        """What is known to one tenant, who waits until ``stopped`` says so."""
        shared = (self._cache, self._artifacts, self._hashes.until(stopped))
        return KnownImportance(*shared, tenant=tenant, pool=pool)

    def find(self, known: Known) -> MeasuredByJob | None:
        """What the strategy of the request ranks by, where a job like it has measured it; from a ``start`` on, of the
        layers that are left there.
        """
        request, facts, start = known.request, known.facts, known.start
        asked, read = self._identified(known)
        layers = start.model.layers if start else facts.layers
        measure, limit = STRATEGIES[request.prune.strategy].measure, importance_limit(layers)
        form = partial(as_importance, layers=layers, measure=measure)
        found = self._read(importance_fingerprint(asked, facts, read), FILE, limit, form)
        return None if found is None else MeasuredByJob(found.thing, found.job_id)

    def brackets(self, known: Known, *, by_retention: bool) -> dict[int, tuple[Bracket, str | None]]:
        """By how many layers went: the brackets that jobs like the request have run, and the job that did."""
        facts = known.facts
        asked, read = self._identified(replace(known, start=None))
        question = search_fingerprint(asked, facts, read)
        found: dict[int, tuple[Bracket, str | None]] = {}
        room = BRACKETS_BYTES
        for drop in range(1, facts.layers) if question is not None else ():
            assert question is not None
            fingerprint = bracket_fingerprint(question, drop, by_retention=by_retention)
            form = partial(as_bracket, layers=facts.layers, drop=drop)
            seen = self._read(fingerprint, BRACKET_FILE, bracket_limit(facts.layers), form)
            if seen is None:
                continue
            if (room := room - seen.bytes) < 0:
                break
            found[drop] = seen.thing, seen.job_id
        return found

    def _identified(self, known: Known) -> tuple[Asked, Identities]:
        stored = known.stored.known(self._hashes) if known.stored else None
        asked = Asked.by_plan(known.request, known.facts, known.delivered, known.start, stored)
        return asked, identify(asked, known.facts, known.settings, self._hashes)

    def _read(
        self, fingerprint: str | None, file: str, limit: Limit, form: Callable[[Any], Thing]
    ) -> _Read[Thing] | None:
        """What a thing in the cache says. One that cannot be used is forgotten: the next job makes it anew."""
        found = None if fingerprint is None else self._cache.find(fingerprint, tenant=self._tenant, pool=self._pool)
        if fingerprint is None or found is None:
            return None
        try:
            size = self._artifacts.manifest(found.prefix).find(file).bytes
            # One byte more than there may be: what grew since, or was never as small, shows.
            body = b"".join(self._artifacts.open_range(found.prefix, file, 0, min(size, limit.bytes + 1)))
            return _Read(form(parse_json(body, file, limit)), found.job_id, len(body))
        except LayercutError as error:
            log.warning("cache_unusable", prefix=found.prefix, why=error.message)
            if passing(error) is not None:  # the store is away: what it has is not broken
                return None
            self._cache.forget(fingerprint, found.prefix)
            return None
