"""What was pinned when a job was accepted is what every attempt is handed, whatever the attempt before decided."""

from __future__ import annotations

from typing import Any

from api_schemas.architectures import ModelFacts
from api_schemas.events import EventType
from api_schemas.requests import JobRequest, ModelRef
from api_schemas.resolved import ResolvedRequest, resolve
from store.jobs import Claim, JobStore
from tests.support.events import say

FACTS = ModelFacts(id="acme/bert", revision="c" * 40, architecture="bert", layers=6, hidden_size=384)
SENT: dict[str, Any] = {"model": "acme/bert", "task": "sst2", "prune": {"drop": 2}}


def accepted(store: JobStore, facts: ModelFacts | None) -> ResolvedRequest:
    request = JobRequest.model_validate(SENT)
    resolved = resolve(request, facts)
    store.create(request, SENT, resolved)
    return resolved


def claimed(store: JobStore) -> Claim:
    claim = store.claim("worker")
    assert claim is not None
    return claim


def lost(store: JobStore, claim: Claim, decided: ResolvedRequest) -> None:
    """An attempt that decides what its device says, and dies."""
    store.record(claim.lease, say(EventType.RESOLVED, "", **decided.model_dump()))
    store.release(claim.lease, "killed")


def test_a_second_attempt_is_handed_what_the_first_one_was(store: JobStore) -> None:
    pinned = accepted(store, FACTS)
    first = claimed(store)
    assert first.resolved == pinned
    assert pinned.recovery is not None
    decided = pinned.recovery.model_copy(update={"precision": "fp16", "batch_size": 8})
    shown = pinned.model_copy(update={"recovery": decided, "device": "cuda:0"})
    lost(store, first, shown)

    assert store.get(first.lease.job_id).resolved == shown, "what the last attempt decided is what is shown"
    assert claimed(store).resolved == pinned, "another device may have no fp16"


def test_a_model_that_could_not_be_looked_at_is_pinned_by_the_first_attempt(store: JobStore) -> None:
    accepted(store, None)
    first = claimed(store)
    assert (first.resolved.plan, first.resolved.model.revision) == (None, None)
    lost(store, first, resolve(first.request, FACTS))

    second = claimed(store)
    assert (second.resolved.plan, second.resolved.model.revision) == (None, FACTS.revision)


def test_a_runner_does_not_choose_which_model_the_next_attempt_stages(store: JobStore) -> None:
    pinned = accepted(store, None)
    first = claimed(store)
    decided = resolve(first.request, FACTS)
    lost(store, first, decided.model_copy(update={"model": ModelRef(id="/models/of-others")}))

    assert claimed(store).resolved == pinned
