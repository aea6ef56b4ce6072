"""Webhooks: endpoints of your tenant, what was sent to each, and the secrets that messages are verified with."""

from __future__ import annotations

import threading
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api_schemas.errors import LayercutError
from api_schemas.request_parts import Whole
from api_schemas.webhook_requests import WebhookChange, WebhookRequest
from api_schemas.webhooks import (
    Delivery,
    DeliveryList,
    DeliveryState,
    NewWebhook,
    Webhook,
    WebhookList,
    WebhookSecret,
)
from service.bodies import JsonBody, validated
from service.callers import Caller, Who
from service.edge.disconnects import gone
from service.openapi import BODY, json_body, problems
from service.state import GatewayState, State
from service.webhooks.addresses import Policy, check

router = APIRouter(prefix="/v1", tags=["webhooks"])

MAX_PAGE = 100
EXAMPLE = {"url": "https://example.org/hooks/layercut", "events": ["job.succeeded", "job.failed"]}

#: An endpoint may take its time: tests must not have all threads that answer requests.
TESTS = threading.BoundedSemaphore(4)


@router.post(
    "/webhooks",
    status_code=201,
    responses=problems(*BODY, "webhook_not_allowed"),
    openapi_extra=json_body(WebhookRequest, when_jobs_end=EXAMPLE),
)
async def create_webhook(body: JsonBody, state: State, who: Who, *, incoming: Request) -> NewWebhook:
    """Have an endpoint told of the events of your jobs. The answer shows its secret, this once."""
    asked = await _checked(state, who, incoming, WebhookRequest, body)
    return await run_in_threadpool(_create, state, who, asked)


@router.get("/webhooks")
def list_webhooks(
    state: State,
    who: Who,
    job_id: Annotated[str | None, Query(max_length=64, description="the webhook that this job named")] = None,
) -> WebhookList:
    """Your endpoints, newest first; those that jobs named are found by the job."""
    return WebhookList(data=state.webhooks.list(who.actor.tenant, state.signer.fingerprint, job_id))


@router.post("/webhook-secret", status_code=201)
def create_webhook_secret(state: State, who: Who) -> WebhookSecret:
    """Make the secret of the webhooks that your jobs name; shown this once. Where there is one, messages carry the
    signatures of both for a day.
    """
    made = state.webhooks.rotate_of_tenant(state.signer.fingerprint, by=who.actor)
    return WebhookSecret(secret=state.signer.secret(made))


@router.get("/webhooks/{webhook_id}", responses=problems("webhook_not_found"))
def get_webhook(webhook_id: str, state: State, who: Who) -> Webhook:
    """One endpoint."""
    return state.webhooks.get(webhook_id, who.actor.tenant, state.signer.fingerprint)


@router.patch(
    "/webhooks/{webhook_id}",
    responses=problems(*BODY, "webhook_not_allowed", "webhook_not_found"),
    openapi_extra=json_body(WebhookChange, begin_again={"enabled": True}),
)
async def change_webhook(webhook_id: str, body: JsonBody, state: State, who: Who, *, incoming: Request) -> Webhook:
    """Change where messages go or about what, or switch it off or on again."""
    asked = await _checked(state, who, incoming, WebhookChange, body)
    change = partial(state.webhooks.change, webhook_id, asked, state.signer.fingerprint, by=who.actor)
    return await run_in_threadpool(change)


@router.delete("/webhooks/{webhook_id}", status_code=204, responses=problems("webhook_not_found"))
def delete_webhook(webhook_id: str, state: State, who: Who) -> Response:
    """Tell it nothing more, and forget what it was told."""
    state.webhooks.delete(webhook_id, by=who.actor)
    return Response(status_code=204)


@router.post("/webhooks/{webhook_id}/rotate", responses=problems("webhook_not_found"))
def rotate_webhook_secret(webhook_id: str, state: State, who: Who) -> NewWebhook:
    """Make a new secret, shown this once. For a day, messages carry the signatures of the new and the old one."""
    webhook, made = state.webhooks.rotate(webhook_id, state.signer.fingerprint, by=who.actor)
    return NewWebhook(**webhook.model_dump(), secret=state.signer.secret(made))


@router.post("/webhooks/{webhook_id}/test", responses=problems("webhook_not_found"))
def test_webhook(webhook_id: str, state: State, who: Who) -> Delivery:
    """Send a `webhook.test` message now, and say what came of it. It is not tried again."""
    if not TESTS.acquire(blocking=False):
        raise LayercutError("too_busy", "several tests of webhooks are under way: try again in some seconds")
    try:
        due = state.deliverer.test(webhook_id, who.actor.tenant)
    finally:
        TESTS.release()
    return state.deliveries.get(webhook_id, due.id)


@router.get("/webhooks/{webhook_id}/deliveries", responses=problems("webhook_not_found", "invalid_cursor"))
def list_deliveries(
    webhook_id: str,
    state: State,
    who: Who,
    *,
    after: Annotated[str | None, Query(max_length=64, description="`next_cursor` of the page before")] = None,
    limit: Annotated[Whole, Query(description="1 to 100; what lies outside is brought inside")] = 20,
    only: Annotated[DeliveryState | None, Query(alias="state", description="only those that stand so")] = None,
) -> DeliveryList:
    """What was sent to an endpoint or is to be, newest first."""
    most = min(max(limit, 1), MAX_PAGE)
    page, has_more = state.deliveries.list(webhook_id, who.actor.tenant, state=only, after=after, limit=most)
    return DeliveryList(data=page, has_more=has_more, next_cursor=page[-1].id if has_more else None)


@router.post(
    "/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver",
    status_code=202,
    responses=problems("webhook_not_found", "delivery_not_found"),
)
def redeliver(webhook_id: str, delivery_id: str, state: State, who: Who) -> Delivery:
    """Send a message once more, under the same `webhook-id`: as if it were new, with all its attempts."""
    return state.deliveries.redeliver(webhook_id, delivery_id, who.actor.tenant)


async def _checked(state: GatewayState, who: Caller, incoming: Request, model: type[Any], body: dict[str, Any]) -> Any:
    """``body`` as a ``model``, its address looked at: with a thread of those that may wait for others."""
    asked = validated(model, body)
    if asked.url is not None:
        leaves, policy = partial(gone, incoming), Policy.of(state.settings)
        await state.admissions.run(who.holder.tenant, leaves, check, asked.url, policy, "/url")
    return asked


def _create(state: GatewayState, who: Caller, asked: WebhookRequest) -> NewWebhook:
    fingerprint = state.signer.fingerprint
    webhook, made = state.webhooks.create(asked.url, asked.events, fingerprint, by=who.actor)
    return NewWebhook(**webhook.model_dump(), secret=state.signer.secret(made))
