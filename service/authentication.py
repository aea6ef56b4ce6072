"""Who asks: keys are verified, remembered for a while, and refused alike whatever is wrong with them."""

from __future__ import annotations

import asyncio
import hmac
import math
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import structlog

from api_schemas.errors import LayercutError
from api_schemas.tenants import Quotas, Scope
from service.edge.networks import network_of
from service.rates import Rate, Rates
from store.audit import Refused
from store.keys import ANYONE, PREFIX, Holder, KeyStore, Rejected

log = structlog.get_logger("layercut.keys")

#: A key that was revoked, or a quota that was changed, is so everywhere within this long.
RECHECK_SECONDS = 15.0
#: Keys that are remembered; of more, those that were not used for longest are verified again.
MOST_KNOWN = 10_000
#: Slow hashes at one time: each takes 16 MiB and a processor.
VERIFIERS = 2
#: Questions at one time whether keys are still valid.
RECHECKERS = 8
#: Keys that may be wrong: from one address, and in all.
PER_ADDRESS, IN_ALL = Rate(per_minute=60, burst=60), Rate(per_minute=240, burst=120)
#: Addresses that are told apart in the audit log between two of its lines.
MOST_ADDRESSES = 20

Answer = TypeVar("Answer")


class Unauthorized(LayercutError):
    """One sentence for a missing, unknown, wrong, expired and revoked key."""

    def __init__(self) -> None:
        text = "send a valid key, as in `Authorization: Bearer lc_…`; `layercut keys create` makes one"
        super().__init__("unauthorized", text)


class TooManyAttempts(LayercutError):
    def __init__(self, wait: float) -> None:
        seconds = max(1, math.ceil(wait))
        super().__init__("too_many_attempts", f"too many keys were refused lately: try again in {seconds} seconds")
        self.headers = {"Retry-After": str(seconds)}


@dataclass
class _Known:
    holder: Holder
    checked: float


class Authenticator:
    """``required``: whether a request without a key is refused. Of one event loop; close it at the end."""

    def __init__(self, keys: KeyStore, *, required: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys, self._clock = keys, clock
        self.required = required
        # Keys are remembered by a hash that nobody else can make, so that no memory image holds a key.
        self._secret = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._verifying: dict[bytes, asyncio.Task[Holder | Rejected]] = {}
        self._rechecking: dict[bytes, asyncio.Task[Holder | None]] = {}
        self._anyone = _Known(ANYONE, -math.inf)
        self._attempts = Rates(clock=clock)
        self._refused: Counter[Refused] = Counter()
        self._verifiers = ThreadPoolExecutor(VERIFIERS, thread_name_prefix="keys")
        self._recheckers = ThreadPoolExecutor(RECHECKERS, thread_name_prefix="rechecks")

    def close(self) -> None:
        for threads in (self._verifiers, self._recheckers):
            threads.shutdown(wait=False, cancel_futures=True)

    async def holder(self, authorization: str | None, address: str) -> Holder:
        """Who sent this header. Raises ``unauthorized``, and ``too_many_attempts`` where too many were refused."""
        key = _bearer(authorization)
        if key is None and not self.required:
            return await self._without_key()
        mark = hmac.digest(self._secret, (key or "").encode(), "sha256")
        known = self._known.get(mark)
        if known is not None and (holder := await self._still(mark, known)) is not None:
            return holder
        return await self._verified(mark, key or "", network_of(address))

    async def holder_by_id(self, key_id: str, tenant: str) -> Holder:
        """Whose the key is that a session of a browser was begun with. Raises ``unauthorized`` once it is not valid."""
        mark = hmac.digest(self._secret, f"session {key_id}".encode(), "sha256")
        known = self._known.get(mark)
        if known is None:
            # Checked never: what it may do is read before it is believed.
            unread = Holder(tenant, Scope.READ, key_id, Quotas(), tenant)
            known = self._known[mark] = _Known(unread, -math.inf)
            self._forget_some()
        holder = await self._still(mark, known)
        if holder is None or holder.tenant != tenant:
            raise Unauthorized
        return holder

    def remembered(self, authorization: str | None) -> Holder | None:
        """Who sent this header before, without asking the database; None for a key that was not seen lately."""
        key = _bearer(authorization)
        if key is None and not self.required:
            return self._anyone.holder
        known = self._known.get(hmac.digest(self._secret, (key or "").encode(), "sha256"))
        return None if known is None else known.holder

    def refusals(self) -> dict[Refused, int]:
        """What was refused since this was last asked."""
        counts, self._refused = self._refused, Counter()
        return dict(counts)

    async def _without_key(self) -> Holder:
        if self._clock() - self._anyone.checked > RECHECK_SECONDS:
            self._anyone.checked = self._clock()
            try:
                self._anyone.holder = await _run(self._recheckers, self._keys.anyone)
            except Exception as error:  # noqa: BLE001 - what needs the database will say so itself
                log.warning("database_unreachable", error=type(error).__name__)
        return self._anyone.holder

    async def _still(self, mark: bytes, known: _Known) -> Holder | None:
        """A key that was right stays right: only whether it is still valid is asked, without a slow hash."""
        self._known.move_to_end(mark)
        if self._clock() - known.checked <= RECHECK_SECONDS:
            return known.holder
        task = self._rechecking.get(mark)
        if task is None:
            task = self._rechecking[mark] = asyncio.create_task(self._recheck(mark, known))
        return await asyncio.shield(task)  # as in _verified

    async def _recheck(self, mark: bytes, known: _Known) -> Holder | None:
        """Once for all who wait: a database that hangs would hold up each behind the one before."""
        try:
            holder = await _run(self._recheckers, self._keys.recheck, known.holder)
        finally:
            self._rechecking.pop(mark, None)
        if holder is None:
            self._known.pop(mark, None)
        else:
            known.holder, known.checked = holder, self._clock()
        return holder

    async def _verified(self, mark: bytes, key: str, network: str) -> Holder:
        task = self._verifying.get(mark)
        if task is None:
            self._take_attempt(network)
            task = self._verifying[mark] = asyncio.create_task(self._verify(mark, key, network))
        # Shielded: who asked first may go away, and others wait for the same answer.
        found = await asyncio.shield(task)
        if isinstance(found, Rejected):
            self._count(found.holder, network)
            raise Unauthorized
        return found

    async def _verify(self, mark: bytes, key: str, network: str) -> Holder | Rejected:
        try:
            found = await _run(self._verifiers, self._verify_now, key)
        finally:
            self._verifying.pop(mark, None)
        if isinstance(found, Holder):
            self._attempts.give_back(network, PER_ADDRESS)
            self._attempts.give_back("", IN_ALL)
            self._known[mark] = _Known(found, self._clock())
            self._forget_some()
        return found

    def _forget_some(self) -> None:
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    def _verify_now(self, key: str) -> Holder | Rejected:
        found = self._keys.verify(key)
        if isinstance(found, Holder):
            self._keys.recheck(found)  # which notes that it was used
        return found

    def _take_attempt(self, network: str) -> None:
        """Before the slow hash, and before anything is known of the key."""
        for name, rate in ((network, PER_ADDRESS), ("", IN_ALL)):
            taken = self._attempts.take(name, rate)
            if taken.wait:
                self._count(None, network)
                raise TooManyAttempts(taken.wait)

    def _count(self, holder: Holder | None, network: str) -> None:
        who = Refused(holder.tenant, holder.key_id, network) if holder else Refused(None, None, network)
        if who not in self._refused and len(self._refused) >= MOST_ADDRESSES:
            who = Refused(None, None, "other addresses")
        self._refused[who] += 1


async def _run(threads: ThreadPoolExecutor, work: Callable[..., Answer], *given: object) -> Answer:
    return await asyncio.get_running_loop().run_in_executor(threads, work, *given)


def _bearer(authorization: str | None) -> str | None:
    """The key in the header; None where there is none of ours."""
    scheme, _, key = (authorization or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def is_of_ours(authorization: str | None) -> bool:
    """Whether the header has what looks like a key of this service."""
    return (_bearer(authorization) or "").startswith(PREFIX)
