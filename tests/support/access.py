"""Tenants with keys, for tests of a gateway that asks for them."""

from __future__ import annotations

from api_schemas.tenants import Quotas, Scope
from service.state import GatewayState
from store.audit import Actor


def key_of(state: GatewayState, tenant: str, scope: Scope, **more: float) -> str:
    """A key of ``tenant``, which is made where it is missing."""
    if tenant not in {found.id for found in state.tenants.list()}:
        state.tenants.create(tenant, tenant, Quotas())
    return state.keys.create(tenant, f"{tenant} {scope}", scope, by=Actor(tenant), **more).key


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
