"""Who may do what: scopes, keys, quotas, and the lines of the audit log, as they are shown."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from api_schemas.request_parts import Request


class Scope(StrEnum):
    """What a key may do, in this order: each may do what those before it may."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"

    def covers(self, needed: Scope) -> bool:
        return _RANKS[self] >= _RANKS[needed]


_RANKS = {scope: rank for rank, scope in enumerate(Scope)}

#: The highest `priority` of a job, by the scope of who asks for it.
HIGHEST_PRIORITY = {Scope.READ: -100, Scope.SUBMIT: 0, Scope.ADMIN: 100}


class ApiKey(BaseModel):
    """A key without its secret."""

    id: str = Field(description="the part of the key that is no secret")
    object: Literal["api_key"] = Field(default="api_key", description="what kind of thing this is")
    tenant: str = Field(description="whose it is")
    name: str = Field(description="what it is for")
    scope: Scope = Field(description="what it may do")
    created_at: datetime = Field(description="when it was made, RFC 3339 in UTC")
    expires_at: datetime | None = Field(description="from when it is refused; null: never")
    revoked_at: datetime | None = Field(description="since when it is refused")
    last_used_at: datetime | None = Field(description="to the minute or so")


class NewApiKey(ApiKey):
    """A key that was just made."""

    key: str = Field(description="send it as `Authorization: Bearer <key>`; it is shown this once")


class ApiKeyList(BaseModel):
    object: Literal["list"] = Field(default="list", description="what kind of thing this is")
    data: list[ApiKey] = Field(description="the keys, newest first")


class ApiKeyRequest(Request):
    """The body of ``POST /v1/keys``."""

    name: str = Field(min_length=1, max_length=100, description="what it is for")
    # JSON has no enums: strictly, a name would be none of them.
    scope: Annotated[Scope, Field(strict=False)] = Field(default=Scope.SUBMIT, description="what it may do")
    expires_in_days: int | None = Field(default=None, ge=1, le=3650, description="without it, it stays until revoked")


class Quotas(BaseModel):
    """What a tenant may use; null is no limit."""

    queued_jobs: int | None = Field(default=None, ge=0, description="that wait at one time")
    running_jobs: int | None = Field(default=None, ge=0, description="jobs beyond it wait in the queue")
    artifact_bytes: int | None = Field(default=None, ge=0, description="of the files of all jobs and uploads")
    requests_per_minute: int | None = Field(default=None, ge=1, description="counted by each gateway process alone")


class TenantUsage(BaseModel):
    """What a tenant uses now."""

    queued_jobs: int = Field(description="that wait")
    running_jobs: int = Field(description="that workers have")
    artifact_bytes: int = Field(description="of jobs and uploads")
    uploads_bytes: int = Field(default=0, description="of these, what uploads take")


class TenantInfo(BaseModel):
    """One who owns jobs, keys and cached things."""

    id: str
    name: str
    created_at: datetime
    quotas: Quotas
    shared_baselines: bool = Field(description="whether it reads and writes the cache that is common to all such")


class AuditLine(BaseModel):
    """Who did what."""

    number: int = Field(description="of the line; later ones are higher")
    at: datetime = Field(description="when, RFC 3339 in UTC")
    tenant: str | None = Field(description="null where nobody was let in")
    key_id: str | None = Field(description="null without a key, as at the command line")
    action: str = Field(description="what was done")
    target: str | None = Field(description="to what")
    outcome: str = Field(description="what came of it")
    request_id: str | None = Field(description="of the request that did it")
    address: str | None = Field(description="from where")


class AuditList(BaseModel):
    """One page, newest first."""

    object: Literal["list"] = Field(default="list", description="what kind of thing this is")
    data: list[AuditLine] = Field(description="the lines, newest first")
    has_more: bool = Field(description="whether there is another page")
    next_cursor: int | None = Field(description="give it as `before`; null on the last page")
