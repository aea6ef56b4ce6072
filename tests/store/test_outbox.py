"""What is written for webhooks with an event, in its own transaction."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Engine, event

from api_schemas.events import EventType
from store.deliveries import DeliveryStore
from store.jobs import JobStore
from store.webhooks import SecretRef, WebhookStore
from tests.support.events import say
from tests.support.store_samples import SUCCEEDED, Submit
from tests.support.webhook_messages import KEY, ME, URL, add, take, told


def test_who_is_told_of_what(store: JobStore, submit: Submit, hooks: WebhookStore, outbox: DeliveryStore) -> None:
    ends, all_of_it, failures = add(hooks), add(hooks, events=["*"]), add(hooks, events=["job.failed"])
    job = submit()
    lease = store.claim("w").lease  # type: ignore[union-attr]
    store.record(lease, say(EventType.STAGE, stage="pruning"))
    store.finish(lease, SUCCEEDED)
    due = take(outbox)
    by_hook = {hook: told([one for one in due if one.webhook_id == hook]) for hook in (ends, all_of_it, failures)}
    assert by_hook == {
        ends: ["job.succeeded"],
        all_of_it: ["job.queued", "job.stage", "job.started", "job.succeeded"],
        failures: [],
    }
    last = json.loads(next(one.body for one in due if one.webhook_id == ends))
    assert (last["data"]["id"], last["data"]["status"], last["data"]["event"]) == (job.id, "succeeded", 4)
    assert (last["data"]["progress"], last["data"]["result"]["layers_dropped"]) == (1.0, 2)
    assert "request" not in last["data"]


def test_a_message_is_there_only_if_its_event_is(
    engine: Engine, store: JobStore, submit: Submit, hooks: WebhookStore, outbox: DeliveryStore
) -> None:
    hook = add(hooks, events=["*"])

    def fail(*_: Any) -> None:
        raise RuntimeError("the process is killed")

    event.listen(engine, "commit", fail)
    try:
        with pytest.raises(RuntimeError):
            submit()
    finally:
        event.remove(engine, "commit", fail)
    assert take(outbox) == []
    assert store.list() == ([], False)
    assert submit().id == take(outbox)[0].body.split('"id":"')[1][:28]
    assert [one.event_number for one in outbox.list(hook, "default", state=None, after=None, limit=9)[0]] == [1]


def test_without_webhooks_an_event_costs_no_statement_more(
    engine: Engine, store: JobStore, submit: Submit, hooks: WebhookStore
) -> None:
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, text, *_: seen.append(text))
    submit()
    without = len(seen)
    assert not [text for text in seen if "deliveries" in text]
    add(hooks, tenant="team-b")
    seen.clear()
    submit()
    assert len(seen) == without, "and another tenant's change nothing"
    add(hooks, events=["*"])
    seen.clear()
    submit()
    assert len([text for text in seen if "INTO deliveries" in text]) == 1


def test_messages_are_short_whatever_the_job_says(
    store: JobStore, submit: Submit, hooks: WebhookStore, outbox: DeliveryStore
) -> None:
    add(hooks)
    submit(metadata={"note": "in confidence"})
    long = say(EventType.FAILED, "x", error={"code": "internal", "message": 'ü\n"' * 3000, "param": "/" + "p" * 300})
    for _ in range(3):
        taken = store.claim("w")
        if taken is not None:
            store.finish(taken.lease, long)
    body = take(outbox)[0].body
    assert len(body.encode()) < 20_000
    assert "in confidence" not in body


def test_the_webhook_of_a_job_is_told_of_that_one(
    store: JobStore, submit: Submit, hooks: WebhookStore, outbox: DeliveryStore
) -> None:
    submit()
    job = submit(webhook={"url": URL, "events": ["*"]})
    assert job.request["webhook"]["url"] == "https://hooks.example.org/?token=REDACTED"
    assert submit(webhook=URL).request["webhook"] == "https://hooks.example.org/?token=REDACTED"
    assert take(outbox) == [], "no key was given"
    assert [hook.job_id for hook in hooks.list("default", KEY, job.id)] == [job.id]
    assert hooks.list("default", KEY) == []
    hooks.rotate_of_tenant(KEY, by=ME)
    store.cancel(job.id)
    due = take(outbox)
    assert (told(due), due[0].url) == (["job.cancelled", "job.queued"], URL)
    assert {one.secret for one in due} == {SecretRef("default", (2,))}, "of its tenant, since its receiver may be too"
    claimed = [store.claim("w") for _ in range(2)]
    assert [one and one.request.webhook and one.request.webhook.url for one in claimed] == [
        None, "https://hooks.example.org/?token=REDACTED",
    ], "a worker is not told more than it needs"  # fmt: skip
