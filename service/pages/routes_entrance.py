"""The way in and out, and what every page loads: for anybody."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from api_schemas.errors import LayercutError
from service.edge.networks import address_of
from service.edge.root_path import address
from service.pages.assets import ASKED_AGAIN, ASSETS, IMMUTABLE
from service.pages.environment import page
from service.pages.refusals import LOGIN, PageRoute
from service.pages.sessions import SECONDS, SESSION, drop_cookie, set_cookie
from service.pages.visits import Sent
from service.state import State

router = APIRouter(route_class=PageRoute, include_in_schema=False)

#: Where one may be led after the login: a page of ours, by its path here. Never another host's.
_OWN_PAGE = re.compile(r"/(?:ui/[A-Za-z0-9/_.~-]*)?(?:\?[A-Za-z0-9&=%+._~\[\]*:-]*)?")

Next = Annotated[str, Query(alias="next", max_length=2048)]


@router.get(LOGIN)
async def login_page(request: Request, state: State, following: Next = "/") -> Response:
    if not state.authenticator.required:
        return RedirectResponse(address("/"), 303)
    return page(request, "login.html", following=_own(following), error=None)


@router.post(LOGIN)
async def login(request: Request, state: State, form: Sent) -> Response:
    following = _own(form.get("next", "/"))
    try:
        holder = await state.authenticator.holder(f"Bearer {form.get('key')}", address_of(request.scope.get("client")))
    except LayercutError as error:
        if error.code not in ("unauthorized", "too_many_attempts"):
            raise
        headers = getattr(error, "headers", None)
        return page(
            request, "login.html", status=error.kind.status, headers=headers, following=following, error=_said(error)
        )
    response = RedirectResponse(address(following), 303)
    if holder.key_id is not None:
        set_cookie(request, response, SESSION, state.sessions.begin(holder), seconds=SECONDS)
    return response


@router.post("/ui/logout")
async def logout(request: Request, form: Sent) -> Response:
    response = RedirectResponse(address(LOGIN), 303)
    drop_cookie(request, response, SESSION)
    return response


@router.get("/ui/static/{name}")
async def static(name: str, v: str = "") -> Response:
    asset = ASSETS.get(name)
    if asset is None:
        raise LayercutError("not_found", f"the pages have no file {name[:80]!r}")
    kept = IMMUTABLE if v == asset.version else ASKED_AGAIN
    return Response(asset.content, media_type=asset.media_type, headers={"Cache-Control": kept})


def _own(path: str) -> str:
    found = _OWN_PAGE.fullmatch(path)
    return path if found and not path.startswith((LOGIN, "/ui/static")) else "/"


def _said(error: LayercutError) -> str:
    if error.code == "unauthorized":
        return "This key is not valid. It may be mistyped, expired or revoked."
    return error.message
