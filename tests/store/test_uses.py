"""Jobs that work on what earlier ones delivered: those files stay until all who need them have ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, update

from api_schemas.architectures import ModelFacts
from api_schemas.delivered import Delivered
from api_schemas.errors import LayercutError
from api_schemas.jobs import Job
from api_schemas.requests import JobRequest
from api_schemas.resolved import resolve
from store.audit import Actor
from store.columns import later
from store.jobs import JobStore
from store.retention import RetentionStore
from store.tables import jobs
from tests.support.store_samples import FAILED, SUCCEEDED, Submit

FACTS = ModelFacts(id="acme/bert", architecture="bert", layers=6, hidden_size=384)
BODY = {"model": "acme/bert", "task": "none"}

Use = Callable[..., Job]


def delivered(store: JobStore, submit: Submit) -> Delivered:
    """What a job that has just succeeded delivered."""
    submit()
    claim = store.claim("worker")
    assert claim is not None
    store.finish(claim.lease, SUCCEEDED, claim.lease.prefix, 100)
    pins = {"job": claim.lease.job_id, "artifact": claim.lease.prefix, "manifest": "a" * 64, "sha256": "b" * 64}
    return Delivered(**pins, model=FACTS)


def use(store: JobStore, source: Delivered) -> Job:
    request = JobRequest.model_validate(BODY | {"model": f"job:{source.job}"})
    return store.create(request, BODY, resolve(request, FACTS, delivered=source))


def outlive(engine: Engine, job_id: str) -> None:
    """Its files have been kept for their time."""
    with engine.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(expires_at=later(-1)))


@contextmanager
def refused(code: str, words: str | None = None) -> Iterator[None]:
    with pytest.raises(LayercutError, match=words) as caught:
        yield
    assert caught.value.code == code


def test_files_that_a_job_works_on_expire_once_it_has_ended(
    store: JobStore, retention: RetentionStore, engine: Engine, submit: Submit
) -> None:
    source, other = delivered(store, submit), delivered(store, submit)
    first, second = use(store, source), use(store, source)
    for job_id in (source.job, other.job):
        outlive(engine, job_id)
    assert retention.expire() == [other.job]
    store.cancel(first.id)
    assert retention.expire() == []
    claim = store.claim("worker")
    assert claim is not None
    assert claim.resolved.delivered == source
    assert retention.expire() == [], "it runs"
    store.finish(claim.lease, FAILED)
    assert (second.id, retention.expire()) == (claim.lease.job_id, [source.job])
    with refused("expired", f"files of {source.job} were kept until"):
        store.delivered(source.job)
    with refused("expired"):
        use(store, source)


def test_nor_is_the_job_deleted_or_run_again_meanwhile(store: JobStore, submit: Submit, engine: Engine) -> None:
    source = delivered(store, submit)
    user = use(store, source)
    with refused("job_in_use", f"{user.id} works on the files"):
        store.delete(source.job)
    with engine.begin() as connection:  # as one that missed its objective: that may be asked for again
        connection.execute(update(jobs).where(jobs.c.id == source.job).values(status="failed"))
    with refused("job_in_use"):
        store.retry(source.job)
    store.cancel(user.id)
    store.delete(source.job)
    with refused("expired", f"{source.job} was deleted"):
        store.delivered(source.job)
    with refused("expired"):
        use(store, source)


def test_a_job_is_not_tried_again_without_what_it_works_on(store: JobStore, submit: Submit) -> None:
    source = delivered(store, submit)
    user = use(store, source)
    store.cancel(user.id)
    store.retry(user.id)
    with refused("job_in_use"):
        store.delete(source.job)
    store.cancel(user.id)
    store.delete(source.job)
    with refused("job_not_retryable", "was deleted"):
        store.retry(user.id)


def test_what_was_made_anew_is_not_what_was_pinned(store: JobStore, submit: Submit) -> None:
    source = delivered(store, submit)
    with refused("expired", "was run again"):
        use(store, source.model_copy(update={"artifact": f"jobs/{source.job}/attempts/9-other"}))


def test_only_what_was_delivered_to_the_tenant_is_found(store: JobStore, submit: Submit) -> None:
    source = delivered(store, submit)
    assert store.delivered(source.job) == source.artifact
    stranger = store.of(Actor("other"))
    with refused("job_not_found"):
        stranger.delivered(source.job)
    with refused("job_not_found"):
        use(stranger, source)
    with refused("job_not_found"):
        store.delivered("job_00000000000000000000000000")
    queued = submit()
    with refused("result_not_ready", "is queued: wait"):
        store.delivered(queued.id)
    claim = store.claim("worker")
    assert claim is not None
    store.finish(claim.lease, FAILED)
    with refused("result_not_ready", "has failed and delivered no model: no memory"):
        store.delivered(queued.id)
