"""Endpoints that are told of events, and which secret each is signed with. The secrets themselves stand nowhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, and_, case, delete, func, insert, select, update

from api_schemas.errors import LayercutError
from api_schemas.webhook_requests import JobWebhook, WebhookChange, redacted
from api_schemas.webhooks import DeliveryState, Webhook
from store.audit import Actor, note
from store.columns import later
from store.database import reading
from store.ids import new_id
from store.keys import DAY, check_actor
from store.tables import deliveries, tenants, webhook_secrets, webhooks
from store.tenants import QuotaExceeded

#: Endpoints of one tenant, those of its jobs aside.
MOST_WEBHOOKS = 20
#: For so long after a rotation, messages carry the signature of the secret before as well.
GRACE_SECONDS = DAY

OTHER_KEY = (
    "the service's key (LAYERCUT_SECRET_KEY) is not the one that the secret was made with: set that one again, or"
    " rotate the secret"
)


@dataclass(frozen=True)
class SecretRef:
    """Names the secrets that messages are signed with, the newest first: each is derived from ``id`` and a number."""

    id: str
    numbers: tuple[int, ...]

    @classmethod
    def of(cls, row: Row[Any]) -> SecretRef:
        """``row`` is of a query of ``SECRET_COLUMNS``."""
        return cls(row.secret_id, (row.number, row.number - 1) if row.in_grace else (row.number,))


#: What a query that joins ``webhook_secrets`` selects of it.
SECRET_COLUMNS = (
    webhook_secrets.c.id.label("secret_id"),
    webhook_secrets.c.number,
    webhook_secrets.c.key_fingerprint,
    case((webhook_secrets.c.rotated_at > later(-GRACE_SECONDS), 1), else_=0).label("in_grace"),
)


class WebhookStore:
    """Unknown endpoints, and those of other tenants, raise ``LayercutError("webhook_not_found")``.

    One method is one transaction. ``fingerprint`` is that of the service's key.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, url: str, events: list[str], fingerprint: str, *, by: Actor) -> tuple[Webhook, SecretRef]:
        """Raises ``quota_exceeded`` where the tenant has ``MOST_WEBHOOKS``."""
        with self._engine.begin() as connection:
            check_actor(connection, by)
            _hold_tenant(connection, by.tenant)
            _check_count(connection, by.tenant)
            made = new_id("whk")
            _add_secret(connection, made, by.tenant, fingerprint)
            row = {"id": made, "tenant": by.tenant, "url": url, "events": events, "secret_id": made}
            connection.execute(insert(webhooks).values(**row, created_at=later()))
            note(connection, by, "webhook.create", made, redacted(url))
            return _shown(existing(connection, made, by.tenant), fingerprint), SecretRef(made, (1,))

    def list(self, tenant: str, fingerprint: str, job_id: str | None = None) -> list[Webhook]:
        """Those of all jobs, or of one job, newest first."""
        of_job = webhooks.c.job_id.is_(None) if job_id is None else webhooks.c.job_id == job_id
        query = _rows(webhooks.c.tenant == tenant, of_job).order_by(webhooks.c.created_at.desc(), webhooks.c.id)
        with reading(self._engine) as connection:
            return [_shown(row, fingerprint) for row in connection.execute(query)]

    def get(self, webhook_id: str, tenant: str, fingerprint: str) -> Webhook:
        with reading(self._engine) as connection:
            return _shown(existing(connection, webhook_id, tenant), fingerprint)

    def change(self, webhook_id: str, change: WebhookChange, fingerprint: str, *, by: Actor) -> Webhook:
        """What is not set in ``change`` stays."""
        values = {name: value for name in ("url", "events") if (value := getattr(change, name)) is not None}
        values |= ENABLED if change.enabled else {}
        # Of another address nothing is known yet.
        values |= {"failing_since": None} if change.url is not None else {}
        with self._engine.begin() as connection:
            check_actor(connection, by)
            held(connection, webhook_id, by.tenant)
            if values:
                connection.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(**values))
            if change.enabled is False:
                disable(connection, webhook_id, "switched off")
            if values or change.enabled is False:
                note(connection, by, "webhook.change", webhook_id, ", ".join(sorted(change.model_fields_set)))
            return _shown(existing(connection, webhook_id, by.tenant), fingerprint)

    def delete(self, webhook_id: str, *, by: Actor) -> None:
        """With all its deliveries."""
        with self._engine.begin() as connection:
            existing(connection, webhook_id, by.tenant)
            connection.execute(delete(webhooks).where(webhooks.c.id == webhook_id))
            connection.execute(delete(webhook_secrets).where(webhook_secrets.c.id == webhook_id))
            note(connection, by, "webhook.delete", webhook_id)

    def rotate(self, webhook_id: str, fingerprint: str, *, by: Actor) -> tuple[Webhook, SecretRef]:
        """A new secret. Raises ``validation_failed`` for the endpoint of a job: that is signed with its tenant's."""
        with self._engine.begin() as connection:
            check_actor(connection, by)
            if held(connection, webhook_id, by.tenant).job_id is not None:
                text = "it is signed with the secret for webhooks of jobs: POST /v1/webhook-secret makes a new one"
                raise LayercutError("validation_failed", text)
            made = _rotate(connection, webhook_id, fingerprint)
            note(connection, by, "webhook.rotate", webhook_id)
            return _shown(existing(connection, webhook_id, by.tenant), fingerprint), made

    def rotate_of_tenant(self, fingerprint: str, *, by: Actor) -> SecretRef:
        """A new secret for the webhooks that the tenant's jobs name."""
        with self._engine.begin() as connection:
            check_actor(connection, by)
            _hold_tenant(connection, by.tenant)
            note(connection, by, "webhook.rotate", by.tenant)
            if _has_secret(connection, by.tenant):
                return _rotate(connection, by.tenant, fingerprint)
            _add_secret(connection, by.tenant, by.tenant, fingerprint)
            return SecretRef(by.tenant, (1,))


def add_for_job(connection: Connection, job_id: str, tenant: str, asked: JobWebhook, fingerprint: str) -> None:
    """The endpoint that a new job names; signed with its tenant's secret, since its receiver may be that of many."""
    _hold_tenant(connection, tenant)
    if not _has_secret(connection, tenant):
        _add_secret(connection, tenant, tenant, fingerprint)
    row = {"id": new_id("whk"), "tenant": tenant, "job_id": job_id, "url": asked.url, "events": asked.events}
    connection.execute(insert(webhooks).values(**row, secret_id=tenant, created_at=later()))


def existing(connection: Connection, webhook_id: str, tenant: str) -> Row[Any]:
    """The endpoint's row; raises ``webhook_not_found``."""
    return _one(_own(webhook_id, tenant), connection, webhook_id)


def held(connection: Connection, webhook_id: str, tenant: str) -> Row[Any]:
    """As ``existing``; nobody deletes or changes it before the transaction ends."""
    return _one(_own(webhook_id, tenant).with_for_update(key_share=True, of=webhooks), connection, webhook_id)


#: What an endpoint is that was never disabled.
ENABLED: dict[str, Any] = {"disabled_at": None, "disabled_reason": None, "failing_since": None}


def disable(connection: Connection, webhook_id: str, reason: str) -> None:
    """It is told nothing more: what waits has failed."""
    off = update(webhooks).where(webhooks.c.id == webhook_id).values(disabled_at=later(), disabled_reason=reason)
    connection.execute(off)
    waiting = and_(deliveries.c.webhook_id == webhook_id, deliveries.c.state == DeliveryState.PENDING)
    connection.execute(update(deliveries).where(waiting).values(**given_up(DISABLED)))


#: Of messages that waited then.
DISABLED = "the webhook was disabled"


def given_up(reason: str) -> dict[str, Any]:
    """What a message is that will not be sent."""
    return {"state": DeliveryState.FAILED, "due_at": None, "last_error": reason}


def _hold_tenant(connection: Connection, tenant: str) -> None:
    """What is counted or looked for is so until the transaction ends."""
    connection.execute(select(tenants.c.id).where(tenants.c.id == tenant).with_for_update())


def _check_count(connection: Connection, tenant: str) -> None:
    own = and_(webhooks.c.tenant == tenant, webhooks.c.job_id.is_(None))
    if (connection.scalar(select(func.count()).select_from(webhooks).where(own)) or 0) >= MOST_WEBHOOKS:
        raise QuotaExceeded(f"you have {MOST_WEBHOOKS} webhooks, the most that one may: delete one", DAY)


def _has_secret(connection: Connection, secret_id: str) -> bool:
    return connection.scalar(select(webhook_secrets.c.id).where(webhook_secrets.c.id == secret_id)) is not None


def _add_secret(connection: Connection, secret_id: str, tenant: str, fingerprint: str) -> None:
    row = {"id": secret_id, "tenant": tenant, "number": 1, "key_fingerprint": fingerprint}
    connection.execute(insert(webhook_secrets).values(**row))


def _rotate(connection: Connection, secret_id: str, fingerprint: str) -> SecretRef:
    # What another key of the service's made cannot be made again: then there is no signature of the one before.
    same_key = webhook_secrets.c.key_fingerprint == fingerprint
    step = update(webhook_secrets).where(webhook_secrets.c.id == secret_id)
    step = step.values(
        number=webhook_secrets.c.number + 1,
        rotated_at=case((same_key, later()), else_=None),
        key_fingerprint=fingerprint,
    )
    return SecretRef(secret_id, (connection.execute(step.returning(webhook_secrets.c.number)).scalar_one(),))


def _rows(*where: ColumnElement[bool]) -> Select[Any]:
    columns = [column for column in webhooks.c if column.name != "secret_id"]
    return select(*columns, *SECRET_COLUMNS).join(webhook_secrets).where(*where)


def _own(webhook_id: str, tenant: str) -> Select[Any]:
    return _rows(webhooks.c.id == webhook_id, webhooks.c.tenant == tenant)


def _one(query: Select[Any], connection: Connection, webhook_id: str) -> Row[Any]:
    row = connection.execute(query).first()
    if row is None:
        raise LayercutError("webhook_not_found", f"there is no webhook {webhook_id[:80]!r}")
    return row


def _shown(row: Row[Any], fingerprint: str) -> Webhook:
    names = ("id", "job_id", "events", "created_at", "disabled_at", "disabled_reason", "failing_since")
    return Webhook(
        **{name: getattr(row, name) for name in names},
        url=redacted(row.url),
        enabled=row.disabled_at is None,
        problem=None if row.key_fingerprint == fingerprint else OTHER_KEY,
    )
