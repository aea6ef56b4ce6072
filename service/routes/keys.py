"""Keys of the caller's tenant, and what was done with them: for those whose key has the scope `admin`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api_schemas.request_parts import Whole
from api_schemas.tenants import ApiKey, ApiKeyList, ApiKeyRequest, AuditList, NewApiKey, Scope
from service.bodies import JsonBody, validated
from service.callers import Who, scoped
from service.openapi import BODY, json_body, problems
from service.state import State

router = APIRouter(prefix="/v1", tags=["keys"], dependencies=[Depends(scoped(Scope.ADMIN))])

EXAMPLE = {"name": "nightly pipeline", "scope": "submit", "expires_in_days": 90}


@router.post(
    "/keys", status_code=201, responses=problems(*BODY), openapi_extra=json_body(ApiKeyRequest, for_a_pipeline=EXAMPLE)
)
def create_key(body: JsonBody, state: State, who: Who) -> NewApiKey:
    """Make a key of your tenant. The answer shows it, this once."""
    asked = validated(ApiKeyRequest, body)
    return state.keys.create(
        who.actor.tenant, asked.name, asked.scope, expires_in_days=asked.expires_in_days, by=who.actor
    )


@router.get("/keys")
def list_keys(state: State, who: Who) -> ApiKeyList:
    """The keys of your tenant, newest first, without their secrets."""
    return ApiKeyList(data=state.keys.list(who.actor.tenant))


@router.delete("/keys/{key_id}", responses=problems("key_not_found"))
def revoke_key(key_id: str, state: State, who: Who) -> ApiKey:
    """End a key. Every gateway refuses it within 15 seconds. Asking twice changes nothing."""
    return state.keys.revoke(key_id, tenant=who.actor.tenant, by=who.actor)


@router.post("/keys/{key_id}/rotate", status_code=201, responses=problems("key_not_found"))
def rotate_key(
    key_id: str,
    state: State,
    who: Who,
    grace_seconds: Annotated[int, Query(ge=0, le=7 * 24 * 3600, description="how long the old one still works")] = 0,
) -> NewApiKey:
    """Make a key in the place of another, with the same name, scope and term."""
    return state.keys.rotate(key_id, grace_seconds=grace_seconds, tenant=who.actor.tenant, by=who.actor)


@router.get("/audit")
def list_audit(
    state: State,
    who: Who,
    before: Annotated[int | None, Query(ge=1, le=2**62, description="`next_cursor` of the page before")] = None,
    limit: Annotated[Whole, Query(description="1 to 1000; what lies outside is brought inside")] = 100,
) -> AuditList:
    """Who did what in your tenant, newest first."""
    lines, has_more = state.audit.page(who.actor.tenant, before, min(max(limit, 1), 1000))
    return AuditList(data=lines, has_more=has_more, next_cursor=lines[-1].number if has_more else None)
