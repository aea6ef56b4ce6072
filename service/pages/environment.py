"""Templates and what every one of them knows; `page` makes the answer, with the policy that its browser keeps to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from api_schemas.tenants import Scope
from service.callers import Caller
from service.edge.root_path import address
from service.pages import words
from service.pages.assets import asset_address
from service.pages.csrf import FIELD
from service.pages.sessions import BROWSER, set_cookie
from service.pages.visits import visit_of
from service.state import GatewayState
from service.version import VERSION

#: No script and no style but our files, and nothing of anybody else's.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

#: `same-origin`: a browser says of our forms where they are from, and nothing to other sites.
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"}

ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
ENVIRONMENT.globals.update(link=address, asset=asset_address, version=VERSION, csrf_field=FIELD)
ENVIRONMENT.filters.update(words.FILTERS)


@dataclass(frozen=True)
class Site:
    """What the frame of a page shows. ``active`` is the entry of the menu that the page belongs to."""

    active: str
    csrf: str
    key_required: bool
    tenant: str | None
    scope: str | None

    @property
    def may_submit(self) -> bool:
        return self.scope is not None and Scope(self.scope).covers(Scope.SUBMIT)


def page(
    request: Request,
    template: str,
    *,
    active: str = "",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **view: Any,
) -> HTMLResponse:
    """The answer to a browser. ``view`` is what ``template`` shows, beside ``site``."""
    text = ENVIRONMENT.get_template(template).render(site=_site(request, active), **view)
    response = HTMLResponse(text, status, {**HEADERS, **(headers or {})})
    visit = visit_of(request)
    if visit.is_new:
        set_cookie(request, response, BROWSER, visit.anchor)
    return response


def _site(request: Request, active: str) -> Site:
    state: GatewayState = request.app.state.gateway
    caller: Caller | None = getattr(request.state, "caller", None)
    required = state.authenticator.required
    return Site(
        active=active,
        csrf=state.sessions.token(visit_of(request).anchor),
        key_required=required,
        tenant=caller.holder.tenant if caller and required else None,
        scope=str(caller.holder.scope) if caller else None,
    )
