"""Endpoints that are deleted or switched off in the middle of what else is done with them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event

from api_schemas.errors import LayercutError
from api_schemas.jobs import Status
from api_schemas.webhook_requests import WebhookChange
from api_schemas.webhooks import DeliveryState
from store.database import open_engine
from store.deliveries import DeliveryStore, Outcome
from store.jobs import JobStore
from store.webhooks import WebhookStore
from tests.support.store_samples import SUCCEEDED, Submit
from tests.support.webhook_messages import FREE, KEY, ME

BROKEN = Outcome(delivered=False, status=500, error="status 500")
#: As long as a statement is given that goes on, or waits for a lock.
A_MOMENT = 0.5


@pytest.fixture
def hook(hooks: WebhookStore) -> str:
    return hooks.create("https://hooks.example.org/", ["*"], KEY, by=ME)[0].id


@contextmanager
def before(engine: Engine, beginning: str, act: Callable[[], object]) -> Iterator[None]:
    """``act`` goes on beside the first statement of the engine's that begins so, from a moment before it on."""
    beside = threading.Thread(target=act)

    def meet(_connection: object, _cursor: object, statement: str, *_: Any) -> None:
        if statement.startswith(beginning) and beside.ident is None:
            beside.start()
            beside.join(A_MOMENT)

    event.listen(engine, "before_cursor_execute", meet)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", meet)
        assert beside.ident is not None, "there was no such statement"
        beside.join()


@pytest.fixture
def other(database_url: str) -> Iterator[WebhookStore]:
    """Of another gateway."""
    engine = open_engine(database_url)
    yield WebhookStore(engine)
    engine.dispose()


def test_an_endpoint_that_is_deleted_while_a_job_ends_costs_the_job_nothing(
    engine: Engine, store: JobStore, submit: Submit, hook: str, other: WebhookStore
) -> None:
    job = submit()
    lease = store.claim("w").lease  # type: ignore[union-attr]
    with before(engine, "INSERT INTO deliveries", lambda: other.delete(hook, by=ME)):
        store.finish(lease, SUCCEEDED)
    assert store.get(job.id).status is Status.SUCCEEDED
    assert other.list("default", KEY) == []


def test_an_endpoint_that_is_deleted_while_it_is_tried_is_there_until_then_or_not_at_all(
    engine: Engine, outbox: DeliveryStore, hook: str, other: WebhookStore
) -> None:
    with before(engine, "INSERT INTO deliveries", lambda: other.delete(hook, by=ME)):
        assert outbox.claim_test(hook, "default", KEY, 60).webhook_id == hook
    with pytest.raises(LayercutError) as caught:
        outbox.claim_test(hook, "default", KEY, 60)
    assert caught.value.code == "webhook_not_found"


def test_an_endpoint_that_is_deleted_while_its_secret_is_made_anew(
    engine: Engine, hooks: WebhookStore, hook: str, other: WebhookStore
) -> None:
    with before(engine, "UPDATE webhook_secrets", lambda: other.delete(hook, by=ME)):
        assert hooks.rotate(hook, KEY, by=ME)[1].numbers == (2,)
    assert other.list("default", KEY) == []


def test_one_that_is_switched_off_while_a_job_ends_is_told_nothing_of_it(
    engine: Engine, store: JobStore, submit: Submit, hook: str, other: WebhookStore
) -> None:
    outbox = DeliveryStore(engine)
    submit()
    lease = store.claim("w").lease  # type: ignore[union-attr]
    outbox.claim(KEY, FREE, 9, 60)

    def switch_off() -> None:
        other.change(hook, WebhookChange(enabled=False), KEY, by=ME)

    with before(engine, "INSERT INTO deliveries", switch_off):
        store.finish(lease, SUCCEEDED)
    assert outbox.claim(KEY, FREE, 9, 60) == []
    assert outbox.any_due() is False, "it would be looked at each second"
    page, _ = outbox.list(hook, "default", state=DeliveryState.FAILED, after=None, limit=9)
    assert {one.last_error for one in page} == {"the webhook was disabled"}
    assert "job.succeeded" in {one.event_type for one in page}


def test_what_could_not_be_sent_is_not_given_back_to_one_that_is_switched_off(
    submit: Submit, hooks: WebhookStore, outbox: DeliveryStore, hook: str
) -> None:
    submit()
    (due,) = outbox.claim(KEY, FREE, 9, 60)
    hooks.change(hook, WebhookChange(enabled=False), KEY, by=ME)
    outbox.give_back(due)
    shown = outbox.get(hook, due.id)
    assert (shown.state, shown.next_attempt_at) == (DeliveryState.FAILED, None)


def test_one_that_is_switched_off_is_told_nothing_more(
    submit: Submit, hooks: WebhookStore, outbox: DeliveryStore, hook: str
) -> None:
    submit()
    under_way = outbox.claim(KEY, FREE, 1, 60)[0]
    submit()
    hooks.change(hook, WebhookChange(enabled=False), KEY, by=ME)
    assert outbox.claim(KEY, FREE, 9, 60) == []
    assert outbox.settle(under_way, BROKEN) == "failed", "it does not come again"
    page, _ = outbox.list(hook, "default", state=None, after=None, limit=9)
    assert [(one.state, one.next_attempt_at) for one in page] == [(DeliveryState.FAILED, None)] * 2
