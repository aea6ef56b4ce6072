"""Files of uploads that come in parts: each with PUT, from where it ended, and all of them put together."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from starlette.concurrency import run_in_threadpool

from api_schemas.uploads import UploadKind
from service.callers import Who
from service.openapi import problems
from service.problems import UPLOAD_OFFSET
from service.routes.uploads import CONTENTS, FOUND, SHOWN, STORED
from service.state import State
from service.uploads.requests import complete, receive_part

LENGTH = "Upload-Length"
OFFSETS: dict[str, Any] = {
    UPLOAD_OFFSET: {"schema": {"type": "integer"}, "description": "where the next part begins"},
    LENGTH: {"schema": {"type": "integer"}, "description": "of the file, in bytes"},
}
OCTETS = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def _router(kind: UploadKind) -> APIRouter:
    router = APIRouter(prefix=f"/v1/{kind}s/{{upload_id}}", tags=["uploads"])

    @router.put(
        "/files/{name:path}",
        name=f"send_{kind}_file",
        response_model=SHOWN[kind][0],
        responses={
            200: {"headers": {UPLOAD_OFFSET: OFFSETS[UPLOAD_OFFSET]}},
            **problems(
                *FOUND, "file_not_found", "upload_complete", "upload_offset_mismatch", "payload_too_large",
                "validation_failed", *STORED,
            ),
        },
        openapi_extra={"requestBody": {"required": True, "content": OCTETS}},
    )  # fmt: skip
    async def send(
        upload_id: str,
        name: str,
        incoming: Request,
        state: State,
        content_range: Annotated[
            str | None, Header(max_length=100, description="of a part: `bytes 0-1023/4096`; without it, the whole file")
        ] = None,
    ) -> Response:
        """Send a file, or its next part. What came before a connection broke is kept: HEAD says where to go on."""
        offset = await receive_part(incoming, state, kind, upload_id, name, content_range=content_range)
        upload = await run_in_threadpool(state.uploads.of(incoming.state.caller.actor).get, upload_id, kind)
        return Response(upload.model_dump_json(), media_type="application/json", headers={UPLOAD_OFFSET: str(offset)})

    @router.head(
        "/files/{name:path}",
        name=f"head_{kind}_file",
        response_class=Response,
        responses={200: {"headers": OFFSETS}, **problems(*FOUND, "file_not_found")},
    )
    def head(upload_id: str, name: str, state: State, who: Who) -> Response:
        """How much of a file is there."""
        file = state.uploads.of(who.actor).file(upload_id, kind, name)
        return Response(headers={UPLOAD_OFFSET: str(file.received), LENGTH: str(file.bytes)})

    @router.post(
        "/complete",
        name=f"complete_{kind}",
        response_model=SHOWN[kind][0],
        responses=problems(
            *FOUND, "upload_offset_mismatch", "upload_not_ready", "upload_hash_mismatch", "quota_exceeded",
            *CONTENTS[kind], *STORED,
        ),
    )  # fmt: skip
    async def finish(upload_id: str, incoming: Request, state: State) -> Any:
        """All files were sent: they are checked, looked into, and ready for jobs. Asking twice changes nothing."""
        return await complete(incoming, state, kind, upload_id)

    return router


routers = tuple(map(_router, UploadKind))
