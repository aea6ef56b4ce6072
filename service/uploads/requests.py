"""Requests that bring bytes, or put them together: each in a thread of its own, as long as there are any free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api_schemas.errors import LayercutError
from api_schemas.uploads import UploadKind
from service.edge.disconnects import gone
from service.state import GatewayState
from service.uploads.body import Body, announced_length
from service.uploads.completion import LASTING, Completer
from service.uploads.form import Form
from service.uploads.receiving import Receiver
from service.uploads.sending import PartReceiver, check_range, parse_content_range
from store.stored_uploads import Within
from store.upload_rows import AnyUpload
from store.uploads import UploadStopped

R = TypeVar("R")

#: Of a form, what its boundaries and headers may take beside the files.
FORM_BYTES = 4 << 20
#: For how long a completion is waited for that another request, or another gateway, has in hand.
WAIT_SECONDS = 300.0
ALLOWED = "LAYERCUT_UPLOAD_BYTES allows"


async def receive_form(request: Request, state: GatewayState, kind: UploadKind, within: Within | None) -> AnyUpload:
    """An upload that comes as a form: it is ready, or there is nothing of it."""
    actor = request.state.caller.actor
    state.upload_slots.check_free(actor.tenant)
    announced = announced_length(request) or 0
    stores = state.upload_stores.of(actor)
    await state.probes.disk.answer()
    await run_in_threadpool(stores.check_room, announced)
    body = Body(request, state.settings.upload_bytes, ALLOWED, beside=FORM_BYTES)
    form, receiver = Form(request.headers["content-type"], body.blocks()), Receiver(kind, stores)

    def stop() -> None:
        receiver.stop()
        body.close()

    upload = await _run(state, kind, actor.tenant, partial(receiver.receive, form, announced, within), stop)
    state.metrics.count_upload(kind, "ready", upload.bytes)
    return upload


async def receive_part(
    request: Request, state: GatewayState, kind: UploadKind, upload_id: str, name: str, *, content_range: str | None
) -> int:
    """Where the file goes on after the part that the request brings."""
    actor = request.state.caller.actor
    asked = None if content_range is None else parse_content_range(content_range)
    stores = state.upload_stores.of(actor)
    state.upload_slots.check_free(actor.tenant)
    file = await run_in_threadpool(stores.uploads.file, upload_id, kind, name)
    part = check_range(asked, file.bytes, name, announced_length(request))
    sending = await run_in_threadpool(stores.uploads.begin_part, upload_id, kind, name, part.start)
    body = Body(request, part.end - part.start, "this part has")
    receiver = PartReceiver(stores)

    def stop() -> None:
        receiver.stop()
        body.close()

    await _run(state, kind, actor.tenant, partial(receiver.receive, sending, body, part.end - part.start), stop)
    return part.end


async def complete(request: Request, state: GatewayState, kind: UploadKind, upload_id: str) -> AnyUpload:
    """The upload, once it is ready: put together here, or by whoever has that in hand."""
    actor = request.state.caller.actor
    stores = state.upload_stores.of(actor)
    deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
    while True:
        completer = Completer(stores, kind, upload_id)
        upload = await _run(state, kind, actor.tenant, completer.complete, completer.stop)
        if upload is not None:
            state.metrics.count_upload(kind, "ready", upload.bytes)
            return upload
        upload = await run_in_threadpool(stores.uploads.get, upload_id, kind)
        if upload.status == "ready":
            return upload
        if asyncio.get_running_loop().time() > deadline:
            raise LayercutError("too_busy", f"{upload_id} is being put together still: ask again")
        await _pause(request, state.settings.feed_seconds)


async def _run(
    state: GatewayState, kind: UploadKind, tenant: str, work: Callable[[], R], stop: Callable[[], object]
) -> R:
    try:
        return await state.upload_slots.run(tenant, work, stop)
    except UploadStopped:
        raise LayercutError(
            "upload_not_ready", "the upload was deleted meanwhile, or another request took it over: ask how far it is"
        ) from None
    except LayercutError as error:
        if error.kind.status == LASTING:
            state.metrics.count_upload(kind, "refused")
        raise


async def _pause(request: Request, seconds: float) -> None:
    """Raises ``ClientDisconnect``."""
    leaving = asyncio.ensure_future(gone(request))
    try:
        await asyncio.wait((leaving,), timeout=seconds)
        if leaving.done():
            raise ClientDisconnect
    finally:
        leaving.cancel()
