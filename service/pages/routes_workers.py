"""`/ui/workers`: who computes, what waits, and what the tenant may use."""

from __future__ import annotations

from fastapi import APIRouter

from service.pages.refusals import PageRoute

router = APIRouter(route_class=PageRoute, include_in_schema=False)
