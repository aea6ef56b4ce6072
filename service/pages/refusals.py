"""What is refused, as a page: a browser's own picture of a problem, or the way to the login page."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from api_schemas.errors import LayercutError
from service.edge.root_path import address, own_path
from service.failures import log_failure
from service.pages.environment import page
from service.problems import FRAMEWORK, RETRY_AFTER_SECONDS, request_id_of
from store.passing import passing

log = structlog.get_logger("layercut.pages")

LOGIN = "/ui/login"
#: Of a request that a script of ours made for a part of a page.
OF_SCRIPT = "HX-Request"


class PageRoute(APIRoute):
    """A route whose refusals, those of its dependencies too, are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_page(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:  # noqa: BLE001 - each has its page
                return refusal_page(request, _as_ours(request, error))

        return handle_page


def refusal_page(request: Request, error: LayercutError) -> Response:
    if error.code == "unauthorized":
        return _to_login(request)
    headers = dict(getattr(error, "headers", None) or {})
    if error.kind.retryable:
        headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
    status, request_id = error.kind.status, request_id_of(request)
    return page(request, "problem.html", status=status, headers=headers, error=error, request_id=request_id)


def _to_login(request: Request) -> Response:
    target = address(LOGIN)
    if request.method == "GET":
        query = request.scope["query_string"].decode("latin-1")
        target += f"?next={quote(own_path(request.scope) + (f'?{query}' if query else ''), safe='')}"
    if OF_SCRIPT in request.headers:
        # A script would follow the redirection, and show the login page in the place of a table's rows.
        return Response(status_code=401, headers={"HX-Redirect": address(LOGIN)})
    return RedirectResponse(target, 303)


def _as_ours(request: Request, error: Exception) -> LayercutError:
    if isinstance(error, LayercutError):
        return error
    if isinstance(error, RequestValidationError):
        said = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
        return LayercutError("validation_failed", said)
    if isinstance(error, HTTPException):
        return LayercutError(FRAMEWORK.get(error.status_code, "internal"), str(error.detail))
    log_failure(log, "page_failed", error, path=request.url.path[:500])
    said = f"Something went wrong inside layercut; the log has it under request id {request_id_of(request)}"
    return passing(error) or LayercutError("internal", said)
