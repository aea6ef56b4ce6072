"""The ceilings of a service as they are shown: ``GET /v1/limits``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from api_schemas.tenants import Quotas, TenantUsage


class CeilingInfo(BaseModel):
    """The most that this service takes of one thing, as whoever runs it has set it."""

    name: str = Field(description="of the limit")
    value: float = Field(description="the most that is taken, in `unit`")
    unit: str = Field(description="what `value` counts")
    setting: str = Field(description="the environment variable that sets it")
    fields: list[str] = Field(description="JSON pointers of the request's fields that it bounds; [] where it is none")
    code: str = Field(description="of the problem that says it was passed")
    summary: str = Field(description="what is limited")


class CeilingList(BaseModel):
    """`data`: what any request may ask for at most. `quotas` and `usage` are those of the caller's tenant."""

    object: Literal["list"] = Field(default="list", description="what kind of thing this is")
    data: list[CeilingInfo] = Field(description="the limits of the service")
    quotas: Quotas = Field(description="what your tenant may use")
    usage: TenantUsage = Field(description="what your tenant uses now")
