"""The caller of a route: let in, within its rate, with the scope that the call needs, and with its own jobs alone."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from api_schemas.errors import LayercutError
from api_schemas.tenants import HIGHEST_PRIORITY, Quotas, Scope, TenantUsage
from service.authentication import is_of_ours
from service.edge.networks import address_of
from service.pages.csrf import TOKEN_HEADER, check_token
from service.pages.sessions import Session, session_of
from service.problems import request_id_of
from service.rates import Rate
from service.state import GatewayState
from store.audit import Actor
from store.jobs import JobStore
from store.keys import Holder
from store.tenants import QuotaExceeded

#: What any route for callers may refuse with.
REFUSALS = ("unauthorized", "forbidden", "quota_exceeded", "too_many_attempts")

READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True)
class Caller:
    holder: Holder
    actor: Actor

    def needs(self, scope: Scope, what: str, param: str | None = None) -> None:
        """Raise ``forbidden``, with the scope that is lacking."""
        if not self.holder.scope.covers(scope):
            raise LayercutError(
                "forbidden", f"{what} needs the scope {scope}; this key has {self.holder.scope}", param=param
            )

    def check_priority(self, priority: int) -> None:
        """Raise ``forbidden`` for a priority above what the scope allows."""
        highest = HIGHEST_PRIORITY[self.holder.scope]
        if priority > highest:
            self.needs(Scope.ADMIN, f"a priority above {highest}", "/priority")


def _count_request(request: Request, state: GatewayState, holder: Holder) -> None:
    """Against the tenant's requests a minute, in this process; the answer will carry what is left."""
    quota = holder.quotas.requests_per_minute
    if quota is None:
        return
    taken = state.rates.take(holder.tenant, Rate(per_minute=quota, burst=quota))
    request.state.answer_headers = {
        "RateLimit-Policy": f'"requests";q={quota};w=60',
        "RateLimit": f'"requests";r={taken.left};t={math.ceil(taken.reset)}',
    }
    if taken.wait:
        seconds = max(1, math.ceil(taken.wait))
        raise QuotaExceeded(
            f"the quota requests_per_minute is {quota}, and it is used up: ask again in {seconds} seconds", seconds
        )


async def let_in(request: Request, authorization: str | None) -> Caller:
    """Whoever sent this header, within its rate."""
    state: GatewayState = request.app.state.gateway
    holder = await state.authenticator.holder(authorization, address_of(request.scope.get("client")))
    return _counted(request, state, holder)


async def let_in_session(request: Request, session: Session) -> Caller:
    """Whoever logged in, for as long as the key is valid; within the same rate."""
    state: GatewayState = request.app.state.gateway
    holder = await state.authenticator.holder_by_id(session.key_id, session.tenant)
    return _counted(request, state, holder)


def _counted(request: Request, state: GatewayState, holder: Holder) -> Caller:
    _count_request(request, state, holder)
    address = address_of(request.scope.get("client"))
    asked = (request_id_of(request), address, request.state.traceparent)
    caller = request.state.caller = Caller(holder, Actor(holder.tenant, holder.key_id, *asked))
    return caller


# One dependency that needs no other, and two that read what it found: each costs every request some tens of µs.
async def _admitted(request: Request) -> None:
    sent = request.headers.get("authorization")
    session = None if sent is not None else session_of(request)
    if session is None:
        caller = await let_in(request, sent)
    else:
        caller = await let_in_session(request, session)
    if request.method not in READING:
        if session is not None:
            check_token(request, session.nonce, request.headers.get(TOKEN_HEADER))
        caller.needs(Scope.SUBMIT, f"{request.method} {request.url.path}")


#: For every router that is not open to all: the scope follows from the method.
ADMITTED = Depends(_admitted)


async def _reader(request: Request) -> None:
    state: GatewayState = request.app.state.gateway
    sent = request.headers.get("authorization")
    await let_in(request, sent if state.authenticator.required or is_of_ours(sent) else None)


#: For routers that are read alone, whatever the method. Their clients send a token for another service to any: where no
#: key is needed, one that is none of ours is not looked at.
READER = Depends(_reader)


async def _who(request: Request) -> Caller:
    # A route without ADMITTED has no caller, and fails.
    caller: Caller = request.state.caller
    return caller


async def _own(request: Request) -> JobStore:
    state: GatewayState = request.app.state.gateway
    return state.store.of(request.state.caller.actor)


Who = Annotated[Caller, Depends(_who)]

#: The jobs of the caller's tenant: those of others are not there.
Own = Annotated[JobStore, Depends(_own)]


def scoped(scope: Scope) -> Callable[[Request], Awaitable[None]]:
    """A dependency of routes that need more than their method says."""

    async def check(request: Request) -> None:
        request.state.caller.needs(scope, f"{request.method} {request.url.path}")

    return check


def quotas_and_usage(state: GatewayState, caller: Caller) -> tuple[Quotas, TenantUsage]:
    """What the caller's tenant may use, and uses now: for ``GET /v1/limits``. Asks the database."""
    return caller.holder.quotas, state.tenants.usage(caller.holder.tenant)
