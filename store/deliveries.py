"""Messages on their way: taken, sent, written down, until they are delivered or have failed.

Many gateways may take at once; one that dies leaves what it took to be taken again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    and_,
    case,
    exists,
    func,
    insert,
    select,
    tuple_,
    update,
)

from api_schemas.errors import LayercutError, storable
from api_schemas.webhooks import TEST, Delivery, DeliveryState, TestMessage, Tried
from store.columns import later
from store.database import reading
from store.ids import new_id
from store.keys import DAY
from store.tables import deliveries, webhook_secrets, webhooks
from store.webhooks import DISABLED, OTHER_KEY, SECRET_COLUMNS, SecretRef, disable, existing, given_up, held

#: How long after the attempt before, in seconds; the message has failed when all of these came to nothing.
RETRY_SECONDS = (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
#: An endpoint that took nothing for so long is disabled, with the last attempt at a message.
DISABLE_AFTER_SECONDS = 5 * DAY
#: Messages that may wait for one endpoint; of more, the oldest are given up.
MOST_WAITING = 10_000
#: Rows that one claim looks at, and how long what nobody can sign is put off.
LOOKED_AT, PUT_OFF_SECONDS = 200, 300

#: Whose turn it is, is decided by these: an endpoint that does not answer holds up itself and no other.
Lane = tuple[str, str]


@dataclass(frozen=True)
class Due:
    """A message that is to be sent now. ``attempt`` is this one's number, from 1."""

    id: str
    attempt: int
    webhook_id: str
    tenant: str
    url: str
    body: str
    secret: SecretRef

    @property
    def lane(self) -> Lane:
        return self.tenant, self.url


@dataclass(frozen=True)
class Busy:
    """How many are under way, and the most that may be, of a lane and of a tenant."""

    lanes: Counter[Lane]
    of_lane: int
    of_tenant: int

    def full_lanes(self) -> list[Lane]:
        return [lane for lane, count in self.lanes.items() if count >= self.of_lane]

    def full_tenants(self) -> list[str]:
        counts: Counter[str] = Counter()
        for (tenant, _), count in self.lanes.items():
            counts[tenant] += count
        return [tenant for tenant, count in counts.items() if count >= self.of_tenant]


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt. ``gone``: the endpoint wants no more. ``wait``: the pause it asks for, in seconds."""

    delivered: bool
    status: int | None = None
    error: str | None = None
    gone: bool = False
    wait: float = 0.0


#: What became of a message by an attempt: `retried` comes again, `disabled` ended its endpoint.
Settled = Literal["delivered", "failed", "retried", "disabled"]
STATES: dict[Settled, DeliveryState] = {
    "delivered": DeliveryState.DELIVERED,
    "failed": DeliveryState.FAILED,
    "retried": DeliveryState.PENDING,
    "disabled": DeliveryState.FAILED,
}


class DeliveryStore:
    """One method is one transaction. Safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def any_due(self) -> bool:
        """Whether it is worth while to claim: a look into an index, which waits for nobody."""
        query = select(deliveries.c.id).where(deliveries.c.due_at <= later()).limit(1)
        with reading(self._engine) as connection:
            return connection.execute(query).first() is not None

    def claim(self, fingerprint: str, busy: Busy, most: int, hold_seconds: float) -> list[Due]:
        """At most ``most`` messages that are due and that the key of ``fingerprint`` signs, no more of a lane and of a
        tenant than ``busy`` leaves. Nobody else takes them within ``hold_seconds``.
        """
        query = _due(fingerprint, busy).limit(LOOKED_AT)
        with self._engine.begin() as connection:
            rows = connection.execute(query.with_for_update(skip_locked=True, of=deliveries)).all()
            # Put in while its endpoint was disabled: neither transaction saw the other's.
            off = [row.id for row in rows if row.disabled_at is not None]
            if off:
                connection.execute(update(deliveries).where(deliveries.c.id.in_(off)).values(**given_up(DISABLED)))
            taken = _fair([row for row in rows if row.disabled_at is None], busy, most)
            hold = update(deliveries).where(deliveries.c.id.in_([due.id for due in taken]))
            if taken:
                connection.execute(hold.values(attempts=deliveries.c.attempts + 1, due_at=later(hold_seconds)))
            return taken

    def claim_test(self, webhook_id: str, tenant: str, fingerprint: str, hold_seconds: float) -> Due:
        """A new test message, taken. Raises ``webhook_not_found``; ``validation_failed`` where nobody can sign it."""
        with self._engine.begin() as connection:
            webhook = held(connection, webhook_id, tenant)
            if webhook.key_fingerprint != fingerprint:
                raise LayercutError("validation_failed", OTHER_KEY)
            fact: dict[str, Any] = {
                "id": new_id("msg"), "webhook_id": webhook_id, "tenant": tenant, "event_type": TEST, "attempts": 1,
                "state": DeliveryState.PENDING,
            }  # fmt: skip
            now = connection.scalar(select(later()))
            assert now is not None
            body = TestMessage(timestamp=now, data=Tried(id=webhook_id)).model_dump_json()
            connection.execute(insert(deliveries).values(**fact, body=body, created_at=now, due_at=later(hold_seconds)))
            return Due(fact["id"], 1, webhook_id, tenant, webhook.url, body, SecretRef.of(webhook))

    def settle(self, due: Due, outcome: Outcome, *, stretch: float = 1.0, again: bool = True) -> Settled | None:
        """Write down what came of an attempt; what another has taken since is left to that one, and None is returned.

        ``stretch`` lengthens the pause, so that not all come again at once. Without ``again`` this was the only one.
        """
        with self._engine.begin() as connection:
            # Always the endpoint's row before those of its messages, as where it is disabled or deleted.
            settled = _tell_endpoint(connection, due, outcome, again=again)
            if _write(connection, due, outcome, settled, stretch):
                return settled
            # What comes too late says nothing of the endpoint either.
            connection.rollback()
            return None

    def give_back(self, due: Due) -> None:
        """The attempt did not come to its end, through no fault of the endpoint's: it does not count."""
        # Not one that has failed meanwhile, as its endpoint was disabled.
        waits = and_(_taken(due), deliveries.c.state == DeliveryState.PENDING)
        step = update(deliveries).where(waits).values(attempts=deliveries.c.attempts - 1, due_at=later())
        with self._engine.begin() as connection:
            connection.execute(step)

    def put_off(self, fingerprint: str) -> int:
        """How many messages are due for a minute, and wait for a gateway with another key; they are looked at again
        later, and say so.
        """
        other = select(webhooks.c.id).join(webhook_secrets).where(webhook_secrets.c.key_fingerprint != fingerprint)
        late = and_(deliveries.c.due_at < later(-60), deliveries.c.webhook_id.in_(other))
        # Several gateways do this at once: what one has in hand, the others pass over.
        some = select(deliveries.c.id).where(late).with_for_update(skip_locked=True)
        with self._engine.begin() as connection:
            step = update(deliveries).where(deliveries.c.id.in_(some))
            step = step.values(due_at=later(PUT_OFF_SECONDS), last_error=OTHER_KEY)
            return connection.execute(step).rowcount

    def bound_waiting(self, most: int) -> int:
        """Give up the oldest of what waits for an endpoint beyond ``most`` messages; how many those were."""
        # What waits is due some time, and nothing else is: for that there is an index.
        by_endpoint = select(deliveries.c.webhook_id).where(deliveries.c.due_at.is_not(None))
        crowded = by_endpoint.group_by(deliveries.c.webhook_id).having(func.count() > most)
        with reading(self._engine) as connection:
            found = connection.scalars(crowded).all()
        return sum(self._bound(webhook_id, most) for webhook_id in found)

    def _bound(self, webhook_id: str, most: int) -> int:
        mine = and_(deliveries.c.webhook_id == webhook_id, deliveries.c.state == DeliveryState.PENDING)
        age = tuple_(deliveries.c.created_at, deliveries.c.id)
        newest = select(deliveries.c.created_at, deliveries.c.id).where(mine)
        newest = newest.order_by(deliveries.c.created_at.desc(), deliveries.c.id.desc())
        with self._engine.begin() as connection:
            at = connection.execute(newest.offset(most).limit(1)).first()
            if at is None:
                return 0
            over = select(deliveries.c.id).where(mine, age <= tuple_(at.created_at, at.id))
            step = update(deliveries).where(deliveries.c.id.in_(over.with_for_update(skip_locked=True)))
            reason = f"more than {most} messages waited for the webhook: the oldest were given up"
            return connection.execute(step.values(**given_up(reason))).rowcount

    def list(
        self, webhook_id: str, tenant: str, *, state: DeliveryState | None, after: str | None, limit: int
    ) -> tuple[list[Delivery], bool]:
        """One page, newest first, and whether there is more. Raises ``webhook_not_found``, ``invalid_cursor``."""
        with reading(self._engine) as connection:
            existing(connection, webhook_id, tenant)
            query = select(deliveries).where(deliveries.c.webhook_id == webhook_id)
            query = query if state is None else query.where(deliveries.c.state == state)
            if after is not None:
                at = _own(connection, webhook_id, after, "invalid_cursor")
                query = query.where(tuple_(deliveries.c.created_at, deliveries.c.id) < tuple_(at.created_at, at.id))
            newest = query.order_by(deliveries.c.created_at.desc(), deliveries.c.id.desc()).limit(limit + 1)
            rows = connection.execute(newest).all()
        return [_shown(row) for row in rows[:limit]], len(rows) > limit

    def get(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Raises ``delivery_not_found``; whose endpoint it is, is the caller's to ask."""
        with reading(self._engine) as connection:
            return _shown(_own(connection, webhook_id, delivery_id))

    def redeliver(self, webhook_id: str, delivery_id: str, tenant: str) -> Delivery:
        """Send it again, from the first attempt on, under the same id.

        Raises ``webhook_not_found``, ``delivery_not_found``, and ``validation_failed`` where the endpoint is disabled.
        """
        with self._engine.begin() as connection:
            webhook = held(connection, webhook_id, tenant)
            _own(connection, webhook_id, delivery_id)
            if webhook.disabled_at is not None:
                text = f'the webhook is disabled ({webhook.disabled_reason}): PATCH it with {{"enabled": true}} first'
                raise LayercutError("validation_failed", text)
            again = {"state": DeliveryState.PENDING, "attempts": 0, "due_at": later(), "delivered_at": None}
            connection.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(**again))
            return _shown(_own(connection, webhook_id, delivery_id))


def _due(fingerprint: str, busy: Busy) -> Select[Any]:
    columns = (deliveries.c.id, deliveries.c.attempts, deliveries.c.webhook_id, deliveries.c.tenant, deliveries.c.body)
    query = select(*columns, webhooks.c.url, webhooks.c.disabled_at, *SECRET_COLUMNS)
    query = query.select_from(deliveries).join(webhooks, webhooks.c.id == deliveries.c.webhook_id).join(webhook_secrets)
    query = query.where(deliveries.c.due_at <= later(), webhook_secrets.c.key_fingerprint == fingerprint)
    lanes, full = busy.full_lanes(), busy.full_tenants()
    if lanes:
        query = query.where(tuple_(deliveries.c.tenant, webhooks.c.url).not_in(lanes))
    if full:
        query = query.where(deliveries.c.tenant.not_in(full))
    return query.order_by(deliveries.c.due_at)


def _fair(rows: Collection[Row[Any]], busy: Busy, most: int) -> list[Due]:
    now = Busy(busy.lanes.copy(), busy.of_lane, busy.of_tenant)
    taken: list[Due] = []
    for row in rows:
        due = Due(row.id, row.attempts + 1, row.webhook_id, row.tenant, row.url, row.body, SecretRef.of(row))
        if len(taken) < most and due.lane not in now.full_lanes() and due.tenant not in now.full_tenants():
            now.lanes[due.lane] += 1
            taken.append(due)
    return taken


def _taken(due: Due) -> ColumnElement[bool]:
    # Delivered stays delivered: what is sent again on request counts its attempts anew while an older one is under way.
    open_ = deliveries.c.state != DeliveryState.DELIVERED
    return and_(deliveries.c.id == due.id, deliveries.c.attempts == due.attempt, open_)


def _write(connection: Connection, due: Due, outcome: Outcome, settled: Settled, stretch: float) -> bool:
    """Whether the message was still taken by this attempt."""
    said = None if outcome.error is None else storable(outcome.error)
    values: dict[str, Any] = {"state": STATES[settled], "due_at": None}
    values |= {"last_status": outcome.status, "last_error": said}
    if settled == "delivered":
        values["delivered_at"] = later()
    if settled == "retried":
        values["due_at"] = later(max(RETRY_SECONDS[due.attempt] * stretch, outcome.wait))
    return connection.execute(update(deliveries).where(_taken(due)).values(**values)).rowcount == 1


def _tell_endpoint(connection: Connection, due: Due, outcome: Outcome, *, again: bool) -> Settled:
    """What becomes of the message; what that means for its endpoint is written down."""
    if outcome.delivered:
        _works(connection, due.webhook_id)
        return "delivered"
    last = due.attempt >= len(RETRY_SECONDS)
    reason = _end_of_endpoint(connection, due, outcome, last=last) if again or outcome.gone else None
    if reason is not None:
        disable(connection, due.webhook_id, storable(reason))
        return "disabled"
    return "failed" if last or not again or _is_disabled(connection, due.webhook_id) else "retried"


def _works(connection: Connection, webhook_id: str) -> None:
    failing = and_(webhooks.c.id == webhook_id, webhooks.c.failing_since.is_not(None))
    if connection.execute(select(webhooks.c.id).where(failing)).first() is not None:
        connection.execute(update(webhooks).where(failing).values(failing_since=None))


def _end_of_endpoint(connection: Connection, due: Due, outcome: Outcome, *, last: bool) -> str | None:
    """Why the endpoint gets no more, if so; from when on it fails is written down."""
    if outcome.gone:
        return f"it answered {outcome.status}: it wants no more"
    since = case((webhooks.c.failing_since.is_(None), later()), else_=webhooks.c.failing_since)
    fails = update(webhooks).where(webhooks.c.id == due.webhook_id).values(failing_since=since)
    long = case((webhooks.c.failing_since < later(-DISABLE_AFTER_SECONDS), 1), else_=0)
    fails_long = connection.execute(fails.returning(long)).scalar()
    # In all that time it may have been sent nothing: one attempt more says little, all of a message's say enough.
    if last and fails_long:
        return f"every delivery failed for {DISABLE_AFTER_SECONDS // DAY} days; the latest: {outcome.error}"
    return None


def _is_disabled(connection: Connection, webhook_id: str) -> bool:
    off = webhooks.c.disabled_at.is_not(None)
    return bool(connection.scalar(select(exists().where(webhooks.c.id == webhook_id, off))))


def _own(connection: Connection, webhook_id: str, delivery_id: str, code: str = "delivery_not_found") -> Row[Any]:
    own = and_(deliveries.c.id == delivery_id, deliveries.c.webhook_id == webhook_id)
    row = connection.execute(select(deliveries).where(own)).first()
    if row is None:
        raise LayercutError(code, f"there is no delivery {delivery_id[:80]!r} of this webhook")
    return row


def _shown(row: Row[Any]) -> Delivery:
    names = [name for name in Delivery.model_fields if name not in ("object", "next_attempt_at")]
    return Delivery(**{name: getattr(row, name) for name in names}, next_attempt_at=row.due_at)
