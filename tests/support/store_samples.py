"""How jobs end in these tests."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, insert

from api_schemas.events import EventType
from api_schemas.jobs import Job
from store.columns import later
from store.tables import webhook_secrets, webhooks
from tests.support.events import say

RESULT = {
    "layers_total": 6,
    "layers_kept": [0, 1, 2, 3],
    "layers_dropped": [4, 5],
    "parameters_before": 100,
    "parameters_after": 70,
    "bytes_before": 400,
    "bytes_after": 280,
    "metric": "accuracy",
    "score_before": 90.0,
    "score_after": 89.0,
    "retention": 0.989,
    "speedup": 1.5,
    "verdict": "undecided: 872 rows cannot tell; about 1500 would",
}
SUCCEEDED = say(EventType.SUCCEEDED, "done", result=RESULT, usage={"wall_seconds": 3.0})
FAILED = say(
    EventType.FAILED,
    "no memory",
    error={"code": "out_of_memory", "message": "no memory", "stage": "recovering"},
)
CANCELLED = say(EventType.CANCELLED, "stopped")

Submit = Callable[..., Job]


def add_webhook(connection: Connection, webhook_id: str) -> None:
    """An endpoint of the default tenant that hears of nothing."""
    of = {"id": webhook_id, "tenant": "default"}
    connection.execute(insert(webhook_secrets).values(**of, key_fingerprint="f"))
    connection.execute(
        insert(webhooks).values(**of, url="https://x", events=[], secret_id=webhook_id, created_at=later())
    )
