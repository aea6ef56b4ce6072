"""Messages of webhooks in the store: taken by one at a time, retried, given up."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select, update

from api_schemas.errors import LayercutError
from api_schemas.webhook_requests import WebhookChange
from api_schemas.webhooks import DeliveryState
from store.columns import later
from store.deliveries import RETRY_SECONDS, Busy, DeliveryStore, Outcome
from store.jobs import JobStore
from store.tables import deliveries, webhooks
from store.tenants import QuotaExceeded
from store.webhooks import MOST_WEBHOOKS, WebhookStore
from tests.support.store_samples import FAILED, Submit
from tests.support.webhook_messages import KEY, ME, URL, add, take, told

OTHER = "another key"
DONE, BROKEN = Outcome(delivered=True, status=200), Outcome(delivered=False, status=500, error="status 500")
Overdue = Callable[..., None]


@pytest.fixture
def overdue(engine: Engine) -> Overdue:
    """Has all that waits be due, as waiting for it would."""

    def move() -> None:
        with engine.begin() as connection:
            waiting = update(deliveries).where(deliveries.c.due_at.is_not(None))
            connection.execute(waiting.values(due_at=later(-3600)))

    return move


def test_of_many_gateways_one_has_a_message(engine: Engine, submit: Submit, hooks: WebhookStore) -> None:
    add(hooks, events=["*"])
    for _ in range(30):
        submit()
    taken: list[str] = []
    start = threading.Barrier(6)

    def gateway() -> None:
        start.wait()
        for _ in range(12):
            taken.extend(due.id for due in take(DeliveryStore(engine), most=5))

    threads = [threading.Thread(target=gateway) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(set(taken))) == (30, 30)


def test_what_a_dead_gateway_had_is_taken_again(
    submit: Submit, hooks: WebhookStore, outbox: DeliveryStore, overdue: Overdue
) -> None:
    hook = add(hooks, events=["*"])
    submit()
    first = take(outbox)
    assert take(outbox) == []
    overdue()
    second = take(outbox)
    assert (second[0].id, second[0].attempt, second[0].body) == (first[0].id, 2, first[0].body)
    assert outbox.settle(second[0], DONE) == "delivered"
    outbox.settle(first[0], BROKEN)  # the first was only slow: what it says comes too late
    shown = outbox.get(hook, first[0].id)
    assert (shown.state, shown.last_status, shown.attempts) == (DeliveryState.DELIVERED, 200, 2)


def test_an_attempt_that_comes_too_late_says_nothing_of_the_endpoint(
    submit: Submit, hooks: WebhookStore, outbox: DeliveryStore, overdue: Overdue
) -> None:
    """Its gateway was frozen meanwhile."""
    hook = add(hooks, events=["*"])
    submit()
    (slow,) = take(outbox)
    overdue()
    (again,) = take(outbox)
    gone = Outcome(delivered=False, status=410, error="status 410", gone=True)
    for said in (BROKEN, gone):
        assert outbox.settle(slow, said) is None
    shown = hooks.get(hook, "default", KEY)
    assert (shown.enabled, shown.failing_since) == (True, None)
    assert outbox.settle(again, BROKEN) == "retried"
    assert outbox.settle(slow, DONE) is None
    assert hooks.get(hook, "default", KEY).failing_since is not None


def test_what_was_delivered_on_request_is_not_undone_by_an_older_attempt(
    submit: Submit, hooks: WebhookStore, outbox: DeliveryStore
) -> None:
    hook = add(hooks, events=["*"])
    submit()
    (slow,) = take(outbox)
    outbox.redeliver(hook, slow.id, "default")
    (again,) = take(outbox)
    outbox.settle(again, DONE)
    outbox.settle(slow, BROKEN)
    shown = outbox.get(hook, slow.id)
    assert (shown.state, shown.last_status, shown.next_attempt_at) == (DeliveryState.DELIVERED, 200, None)


def test_one_endpoint_or_tenant_does_not_hold_up_others(
    submit: Submit, hooks: WebhookStore, outbox: DeliveryStore
) -> None:
    add(hooks, events=["*"])
    for _ in range(5):
        submit()
    add(hooks, "https://quick.example.org/", ["*"])
    submit()
    busy = Busy(Counter({("default", URL): 1}), of_lane=2, of_tenant=100)
    assert Counter(due.url for due in take(outbox, busy)) == {URL: 1, "https://quick.example.org/": 1}
    assert take(outbox, Busy(Counter({("default", "https://x"): 8}), of_lane=9, of_tenant=8)) == []
    assert len(take(outbox, Busy(Counter({("default", URL): 2}), of_lane=2, of_tenant=9))) == 0
    assert len(take(outbox, Busy(Counter({("team-b", URL): 2}), of_lane=2, of_tenant=2))) == 2


def test_pauses_grow_and_end(
    engine: Engine, submit: Submit, hooks: WebhookStore, outbox: DeliveryStore, overdue: Overdue
) -> None:
    hook = add(hooks, events=["*"])
    submit()
    pauses = []
    for attempt in range(1, len(RETRY_SECONDS) + 1):
        due = take(outbox)[0]
        assert due.attempt == attempt
        settled = outbox.settle(due, BROKEN)
        with engine.begin() as connection:
            left = connection.scalar(select(deliveries.c.due_at)), connection.scalar(select(later()))
        pauses.append(left[0] and round((left[0] - left[1]).total_seconds()))  # type: ignore[operator]
        overdue()
    assert (settled, pauses) == ("failed", [*RETRY_SECONDS[1:], None])
    assert take(outbox) == []
    again = outbox.redeliver(hook, due.id, "default")
    assert (again.id, again.state, again.attempts) == (due.id, DeliveryState.PENDING, 0)
    assert outbox.settle(take(outbox)[0], DONE) == "delivered"


def test_an_endpoint_that_asks_for_a_longer_pause_has_it(
    engine: Engine, submit: Submit, hooks: WebhookStore, outbox: DeliveryStore, overdue: Overdue
) -> None:
    add(hooks, events=["*"])
    submit()
    outbox.settle(take(outbox)[0], Outcome(delivered=False, status=503, error="busy", wait=600))
    with engine.begin() as connection:
        due_at, now = connection.scalar(select(deliveries.c.due_at)), connection.scalar(select(later()))
    assert due_at is not None
    assert now is not None
    assert 590 < (due_at - now).total_seconds() <= 600


def test_gone_disables_and_ends_what_waits(
    store: JobStore, submit: Submit, hooks: WebhookStore, outbox: DeliveryStore
) -> None:
    hook = add(hooks, events=["*"])
    submit()
    store.claim("w")
    first, _ = take(outbox)
    gone = Outcome(delivered=False, status=410, error="status 410", gone=True)
    assert outbox.settle(first, gone) == "disabled"
    shown = hooks.get(hook, "default", KEY)
    assert (shown.enabled, shown.disabled_reason) == (False, "it answered 410: it wants no more")
    page, _ = outbox.list(hook, "default", state=DeliveryState.FAILED, after=None, limit=9)
    assert {one.last_error for one in page} == {"status 410", "the webhook was disabled"}
    submit()
    assert take(outbox) == []
    with pytest.raises(LayercutError, match="disabled"):
        outbox.redeliver(hook, first.id, "default")
    assert hooks.change(hook, WebhookChange(enabled=True), KEY, by=ME).disabled_reason is None
    submit()
    assert told(take(outbox)) == ["job.queued"]


def test_what_fails_for_days_is_disabled_by_a_last_attempt_and_a_success_in_between_counts(
    engine: Engine, submit: Submit, hooks: WebhookStore, outbox: DeliveryStore
) -> None:
    hook = add(hooks, events=["*"])

    def attempt(outcome: Outcome, failing_days: float | None = None, *, number: int = 1) -> str | None:
        submit()
        with engine.begin() as connection:
            connection.execute(update(deliveries).values(attempts=number - 1))
            if failing_days is not None:
                connection.execute(update(webhooks).values(failing_since=later(-failing_days * 86_400)))
        return outbox.settle(take(outbox)[0], outcome)

    last = len(RETRY_SECONDS)
    assert attempt(BROKEN) == "retried"
    assert hooks.get(hook, "default", KEY).failing_since is not None
    assert attempt(DONE) == "delivered"
    assert hooks.get(hook, "default", KEY).failing_since is None
    assert attempt(BROKEN, 4.9, number=last) == "failed"
    assert attempt(BROKEN, 5.1, number=last - 1) == "retried", "it may have been sent nothing for all these days"
    assert attempt(BROKEN, 5.1, number=last) == "disabled"
    assert hooks.get(hook, "default", KEY).disabled_reason == "every delivery failed for 5 days; the latest: status 500"


def test_only_a_gateway_with_the_key_signs(
    submit: Submit, hooks: WebhookStore, outbox: DeliveryStore, overdue: Overdue
) -> None:
    hook = add(hooks, events=["*"])
    submit()
    assert take(outbox, key=OTHER) == []
    assert "LAYERCUT_SECRET_KEY" in str(hooks.get(hook, "default", OTHER).problem)
    assert hooks.get(hook, "default", KEY).problem is None
    with pytest.raises(LayercutError, match="rotate the secret"):
        outbox.claim_test(hook, "default", OTHER, 60)
    overdue()
    assert (outbox.put_off(KEY), outbox.put_off(OTHER), outbox.put_off(OTHER)) == (0, 1, 0)
    page, _ = outbox.list(hook, "default", state=None, after=None, limit=9)
    assert "LAYERCUT_SECRET_KEY" in str(page[0].last_error)
    hooks.rotate(hook, OTHER, by=ME)
    overdue()
    due = take(outbox, key=OTHER)
    assert due[0].secret.numbers == (2,), "what another key made cannot be made again"


def test_a_rotation_has_both_for_a_day(
    engine: Engine, submit: Submit, hooks: WebhookStore, outbox: DeliveryStore, overdue: Overdue
) -> None:
    hook = add(hooks, events=["*"])
    submit()
    hooks.rotate(hook, KEY, by=ME)
    assert take(outbox)[0].secret.numbers == (2, 1)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE webhook_secrets SET rotated_at = '2020-01-01 00:00:00.000000'")
    overdue()
    assert take(outbox)[0].secret.numbers == (2,)


def test_deleting_forgets_all(engine: Engine, submit: Submit, hooks: WebhookStore, outbox: DeliveryStore) -> None:
    hook = add(hooks, events=["*"])
    submit()
    hooks.delete(hook, by=ME)
    assert take(outbox) == []
    for call in (lambda: hooks.get(hook, "default", KEY), lambda: hooks.delete(hook, by=ME)):
        with pytest.raises(LayercutError) as caught:
            call()
        assert caught.value.code == "webhook_not_found"


def test_a_tenant_has_a_bounded_number(hooks: WebhookStore) -> None:
    for _ in range(MOST_WEBHOOKS):
        add(hooks)
    with pytest.raises(QuotaExceeded, match="20 webhooks"):
        add(hooks)
    add(hooks, tenant="team-b")
    assert len(hooks.list("default", KEY)) == MOST_WEBHOOKS


def test_of_too_much_that_waits_for_an_endpoint_the_oldest_are_given_up(
    submit: Submit, hooks: WebhookStore, outbox: DeliveryStore
) -> None:
    dead = add(hooks, events=["*"])
    for _ in range(2):
        submit()
    other = add(hooks, events=["*"])
    for _ in range(3):
        submit()
    assert (outbox.bound_waiting(5), outbox.bound_waiting(3), outbox.bound_waiting(3)) == (0, 2, 0)
    page, _ = outbox.list(dead, "default", state=None, after=None, limit=9)
    assert [one.state for one in page] == [DeliveryState.PENDING] * 3 + [DeliveryState.FAILED] * 2, "newest first"
    assert page[-1].last_error == "more than 3 messages waited for the webhook: the oldest were given up"
    assert page[-1].next_attempt_at is None
    assert Counter(due.webhook_id for due in take(outbox)) == {dead: 3, other: 3}
    assert outbox.redeliver(dead, page[-1].id, "default").state == DeliveryState.PENDING


def test_pages_of_deliveries(store: JobStore, submit: Submit, hooks: WebhookStore, outbox: DeliveryStore) -> None:
    hook = add(hooks, events=["*"])
    for _ in range(3):
        submit()
        store.finish(store.claim("w").lease, FAILED)  # type: ignore[union-attr]
    seen: list[str] = []
    after, more = None, True
    while more:
        page, more = outbox.list(hook, "default", state=None, after=after, limit=4)
        seen += [one.id for one in page]
        after = page[-1].id
    whole, _ = outbox.list(hook, "default", state=None, after=None, limit=100)
    assert seen == [one.id for one in whole]
    assert [one.created_at for one in whole] == sorted((one.created_at for one in whole), reverse=True)
    assert len(seen) == 9
    with pytest.raises(LayercutError) as caught:
        outbox.list(hook, "default", state=None, after="msg_none", limit=4)
    assert caught.value.code == "invalid_cursor"
