"""`/ui/uploads`: datasets and models that were sent, and forms that send more."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from api_schemas.errors import LayercutError
from api_schemas.tenants import Scope
from api_schemas.uploads import UploadKind
from service.callers import Caller, Who
from service.edge.root_path import address
from service.pages.csrf import FIELD, TOKEN_HEADER, check_token
from service.pages.environment import page
from service.pages.refusals import PageRoute
from service.pages.views.uploads import upload_row, upload_view
from service.pages.visits import Sent, visit_of
from service.state import GatewayState, State
from service.uploads.form import MEDIA_TYPE
from service.uploads.requests import receive_form

router = APIRouter(prefix="/ui/uploads", route_class=PageRoute, include_in_schema=False)

#: Of each kind, on one page.
PAGE = 50
KINDS = {kind.value: kind for kind in UploadKind}


async def _ours(request: Request) -> None:
    """As ``Sent``, of a form whose body is not read yet: its token stands in the address, or in a head."""
    sent = request.headers.get(TOKEN_HEADER) or request.query_params.get(FIELD)
    check_token(request, visit_of(request).anchor, sent)
    if not request.headers.get("content-type", "").lower().startswith(MEDIA_TYPE):
        raise LayercutError("unsupported_media_type", f"a form with files is sent as {MEDIA_TYPE}")


@router.get("")
def list_uploads(request: Request, state: State, who: Who) -> Response:
    return _list(request, state, who)


@router.post("/{kind}", dependencies=[Depends(_ours)])
async def send(kind: str, request: Request, state: State, who: Who) -> Response:
    """Take the files in, as they come; refused, the page says why."""
    found = _kind(kind)
    try:
        upload = await receive_form(request, state, found, None)
    except LayercutError as error:
        if error.kind.status >= 500 or error.code in ("forbidden", "quota_exceeded"):
            raise
        return await run_in_threadpool(_list, request, state, who, wrong=(found, error))
    return RedirectResponse(address(f"/ui/uploads/{found}/{upload.id}"), 303)


@router.get("/{kind}/{upload_id}")
def show(kind: str, upload_id: str, request: Request, state: State, who: Who) -> Response:
    upload = state.uploads.of(who.actor).get(upload_id, _kind(kind))
    return page(request, "uploads/show.html", active="uploads", upload=upload_view(upload))


@router.post("/{kind}/{upload_id}/delete")
def delete(kind: str, upload_id: str, state: State, who: Who, form: Sent) -> Response:
    state.uploads.of(who.actor).delete(upload_id, _kind(kind))
    return RedirectResponse(address("/ui/uploads"), 303)


def _list(
    request: Request, state: GatewayState, who: Caller, wrong: tuple[UploadKind, LayercutError] | None = None
) -> Response:
    mine = state.uploads.of(who.actor)
    found = {kind.value: mine.list(kind, limit=PAGE) for kind in UploadKind}
    view = {name: [upload_row(one) for one in uploads] for name, (uploads, _) in found.items()}
    more = any(has_more for _, has_more in found.values())
    kind, error = wrong if wrong else (None, None)
    return page(
        request, "uploads/list.html", active="uploads", status=error.kind.status if error else 200,
        uploads=view, more=more, most=PAGE, wrong_kind=kind.value if kind else "",
        wrong=error.message if error else "", days=state.settings.upload_days,
        may_send=who.holder.scope.covers(Scope.SUBMIT), bytes=state.settings.upload_bytes,
    )  # fmt: skip


def _kind(name: str) -> UploadKind:
    if name not in KINDS:
        raise LayercutError("not_found", f"uploads are {' or '.join(KINDS)}, and no {name[:80]!r}")
    return KINDS[name]
