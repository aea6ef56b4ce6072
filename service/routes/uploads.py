"""Data and models that are sent: `/v1/datasets` and `/v1/models`, two resources with one mechanism."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api_schemas.errors import LayercutError
from api_schemas.request_parts import Whole
from api_schemas.uploads import (
    Dataset,
    DatasetList,
    Model,
    ModelList,
    UploadKind,
    UploadRequest,
)
from service.bodies import read_json, validated
from service.callers import Who
from service.idempotency import PARAMETER, Answering, answered_once
from service.idempotency import REFUSALS as REPEATED
from service.openapi import BODY, problems
from service.state import State
from service.uploads.form import MEDIA_TYPE
from service.uploads.requests import receive_form
from service.uploads.stores import Stores
from sources.uploads.names import check_names
from store.stored_uploads import Within
from store.upload_rows import AnyUpload

MAX_PAGE = 100

#: For the schema alone: what is none is an invalid cursor.
UPLOAD_ID: dict[str, Any] = {"pattern": "^upl_[0-9a-hjkmnp-tv-z]{24}$", "maxLength": 28}

RIGHT = f"{MEDIA_TYPE} with the files (curl -F file=@data.csv), or application/json with what is to come"

FOUND = ("upload_not_found", "expired")
STORED = ("storage_full", "storage_unavailable", "too_busy")
#: What may be wrong with what came, by its kind.
CONTENTS = {
    UploadKind.DATASET: ("dataset_invalid",),
    UploadKind.MODEL: (
        "model_invalid", "model_not_allowed", "unsupported_architecture", "ceiling_passed", "archive_invalid",
    ),
}  # fmt: skip
EXAMPLES = {
    UploadKind.DATASET: {"files": [{"name": "train.csv", "bytes": 1048576, "sha256": None}], "name": "reviews"},
    UploadKind.MODEL: {
        "files": [{"name": "config.json", "bytes": 612}, {"name": "model.safetensors", "bytes": 90868376}]
    },
}
FORMS: dict[UploadKind, dict[str, Any]] = {
    UploadKind.DATASET: {"file": ["reviews.csv"], "name": "reviews"},
    UploadKind.MODEL: {"file": ["model.tar.gz"], "name": "our classifier"},
}
SHOWN: dict[UploadKind, tuple[type[Dataset] | type[Model], type[DatasetList] | type[ModelList]]] = {
    UploadKind.DATASET: (Dataset, DatasetList),
    UploadKind.MODEL: (Model, ModelList),
}


def _body(kind: UploadKind) -> dict[str, Any]:
    """The two bodies that a POST may have, as the document says it."""
    described = "its files, or one archive of them: .tar, .tar.gz or .zip" if kind is UploadKind.MODEL else "its files"
    form = {
        "type": "object",
        "required": ["file"],
        "properties": {
            "file": {"type": "array", "items": {"type": "string", "format": "binary"}, "description": described},
            "name": {"type": "string", "maxLength": 200, "description": "for people"},
            "sha256": {
                "type": "string",
                "pattern": "^[0-9a-fA-F]{64}$",
                "description": "of the one file, as it is sent",
            },
        },
    }
    later = {"$ref": "#/components/schemas/UploadRequest"}
    return {
        "required": True,
        "content": {
            MEDIA_TYPE: {"schema": form, "example": FORMS[kind]},
            "application/json": {"schema": later, "examples": {"in_parts": {"value": EXAMPLES[kind]}}},
        },
    }


def _router(kind: UploadKind) -> APIRouter:
    router = APIRouter(prefix=f"/v1/{kind}s", tags=["uploads"])
    one, page = SHOWN[kind]
    made = Answering[AnyUpload](
        201, lambda upload: upload.model_dump(mode="json"), lambda body: f"/v1/{kind}s/{body['id']}"
    )

    @router.post(
        "",
        name=f"create_{kind}",
        status_code=201,
        response_model=one,
        responses={
            201: {"headers": {"Location": {"schema": {"type": "string"}, "description": "the upload's address"}}},
            **problems(*BODY, *REPEATED, "upload_hash_mismatch", "quota_exceeded", *CONTENTS[kind], *STORED),
        },
        openapi_extra={"requestBody": _body(kind), "parameters": [PARAMETER]},
    )
    async def create(incoming: Request, state: State, who: Who) -> Response:
        """Send files. As a form (`curl -F file=@…`) all of it comes now, and is ready; as JSON, the files are
        announced, and sent with PUT.
        """
        stores = state.upload_stores.of(who.actor)
        if incoming.headers.get("content-type", "").lower().startswith(MEDIA_TYPE):
            length = {"content-length": incoming.headers.get("content-length")}
            return await answered_once(incoming, state, length, partial(receive_form, incoming, state, kind), made)
        body = await read_json(incoming, right=RIGHT)

        async def announce(within: Within | None) -> AnyUpload:
            await state.probes.disk.answer()
            return await run_in_threadpool(_announce, stores, kind, body, within)

        return await answered_once(incoming, state, body, announce, made)

    @router.get("", name=f"list_{kind}s", response_model=page, responses=problems("invalid_cursor"))
    def list_all(
        state: State,
        who: Who,
        after: Annotated[
            str | None, Query(description="`next_cursor` of the page before", json_schema_extra=UPLOAD_ID)
        ] = None,
        limit: Annotated[Whole, Query(description="1 to 100; what lies outside is brought inside")] = 20,
    ) -> Any:
        """Yours, newest first."""
        found, more = state.uploads.of(who.actor).list(kind, after=after, limit=min(max(limit, 1), MAX_PAGE))
        return {"data": found, "has_more": more, "next_cursor": found[-1].id if found and more else None}

    @router.get("/{upload_id}", name=f"get_{kind}", response_model=one, responses=problems(*FOUND))
    def get(upload_id: str, state: State, who: Who) -> Any:
        """One upload: what came of it, and what was found in it."""
        return state.uploads.of(who.actor).get(upload_id, kind)

    @router.delete(
        "/{upload_id}",
        name=f"delete_{kind}",
        status_code=204,
        response_class=Response,
        responses=problems("upload_not_found", "upload_in_use"),
    )
    def delete(upload_id: str, state: State, who: Who) -> None:
        """Delete an upload and its files. Asking twice changes nothing."""
        state.uploads.of(who.actor).delete(upload_id, kind)

    return router


def _announce(stores: Stores, kind: UploadKind, body: dict[str, Any], within: Within | None) -> AnyUpload:
    asked = validated(UploadRequest, body)
    check_names([file.name for file in asked.files], kind)
    size, most = sum(file.bytes for file in asked.files), stores.settings.upload_bytes
    if size > most:
        raise LayercutError(
            "payload_too_large", f"the files have {size} bytes, more than the {most} that LAYERCUT_UPLOAD_BYTES allows",
            details={"limit": most},
        )  # fmt: skip
    # Each lies there twice for a moment: in parts, and whole.
    stores.check_room(2 * size)
    return stores.uploads.create(kind, asked.files, asked.name, within)


routers = tuple(map(_router, UploadKind))
