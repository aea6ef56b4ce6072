"""Endpoints of webhooks in the store, and what is taken for them."""

from __future__ import annotations

import json
from collections import Counter

from api_schemas.webhook_requests import TERMINAL
from store.audit import Actor
from store.deliveries import Busy, DeliveryStore, Due
from store.webhooks import WebhookStore

KEY = "key"
ME = Actor("default")
URL = "https://hooks.example.org/?token=s3cr3t"
FREE = Busy(Counter(), 100, 100)


def take(outbox: DeliveryStore, busy: Busy = FREE, key: str = KEY, most: int = 100) -> list[Due]:
    return outbox.claim(key, busy, most, 60)


def told(due: list[Due]) -> list[str]:
    """The types of their events."""
    return sorted(json.loads(one.body)["type"] for one in due)


def add(hooks: WebhookStore, url: str = URL, events: list[str] | None = None, tenant: str = "default") -> str:
    """The id of a new endpoint."""
    return hooks.create(url, events or TERMINAL, KEY, by=Actor(tenant))[0].id
