"""What the OpenAPI document says beyond what FastAPI sees for itself: raw bodies, and problems."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api_schemas.errors import ERRORS, LayercutError, Problem, problem
from api_schemas.jobs import JobsToCancel
from api_schemas.requests import JobRequest, PlanRequest
from api_schemas.studies.request import MoreCells, ResumeStudy, StudyRequest
from api_schemas.tenants import ApiKeyRequest
from api_schemas.uploads import UploadRequest
from api_schemas.webhook_requests import WebhookChange, WebhookRequest
from api_schemas.webhooks import TEST, JobMessage, TestMessage
from service.answer_examples import add_answers
from service.problems import MEDIA_TYPE
from service.schema_bounds import bound_strings

#: Where a key is asked for, if any is; `service/callers.py` does.
CALLERS_ONLY = ("/v1/", "/metrics")
BEARER = {"type": "http", "scheme": "bearer", "description": "a key of `layercut keys create`: lc_…_…"}

REF = "#/components/schemas/{model}"

#: What the calls are about, in the order in which one comes to need them.
TAGS = {
    "jobs": "Ask for a compression, follow it, cancel it, ask again.",
    "studies": "Ask for many at once, and look at their table.",
    "uploads": "Send data and models, which requests then name.",
    "events": "What happened to a job: live, or page by page.",
    "artifacts": "What a job made: its report, its figures, its files, one tar of them all.",
    "plans": "What a job would do, without doing it.",
    "catalog": "What can be asked for.",
    "keys": "Who may call, and who did what.",
    "webhooks": "Be told of events.",
    "operations": "For those who run the service.",
}

# Named in the document by reference only, because no route declares them.
UNDECLARED: tuple[type[BaseModel], ...] = (
    Problem, JobRequest, JobsToCancel, PlanRequest, ApiKeyRequest, WebhookRequest, WebhookChange, UploadRequest,
    JobMessage, TestMessage, StudyRequest, MoreCells, ResumeStudy,
)  # fmt: skip

#: What is shown as it was sent.
SENT: dict[str, type[BaseModel]] = {"Job": JobRequest, "JobPreview": JobRequest, "Study": StudyRequest}

#: What is sent to webhooks: the message, and what it is about.
MESSAGES: dict[str, tuple[type[BaseModel], str]] = {
    "job": (JobMessage, "An event of a job. Its `type` is the event's."),
    TEST: (TestMessage, "What `POST /v1/webhooks/{webhook_id}/test` sends."),
}
#: Of Standard Webhooks.
MESSAGE_HEADERS = {
    "webhook-id": "the same whenever the message comes again: what was seen is to be dropped",
    "webhook-timestamp": "seconds since 1970, of this attempt",
    "webhook-signature": "`v1,<base64>` of HMAC-SHA256 over id.timestamp.body; several, with spaces, after a rotation",
}

# What any call can answer, and what any call with a body can.
ANYWHERE = (
    "malformed_request",
    "cross_site",
    "request_timeout",
    "uri_too_long",
    "misdirected",
    "validation_failed",
    "headers_too_large",
    "internal",
    "not_ready",
    "too_busy",
    "database_unavailable",
    "storage_unavailable",
)
BODY = ("malformed_request", "payload_too_large", "unsupported_media_type", "validation_failed")


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may refuse with these codes of ``ERRORS``, one example each."""
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in codes:
        by_status[ERRORS[code].status].append(code)
    return {status: _problem_response(names) for status, names in by_status.items()}


def json_body(model: type[BaseModel], **examples: dict[str, Any]) -> dict[str, Any]:
    """The ``openapi_extra`` of a route that reads its body itself."""
    content = {"schema": _ref(model), "examples": {name: {"value": value} for name, value in examples.items()}}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def install_openapi(app: FastAPI, *, key_needed: bool, root_path: str = "") -> None:
    """``key_needed``: else a key may be left out, and the document says so. ``root_path``: a proxy's prefix."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, key_needed, root_path)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # the way that FastAPI documents


def _document(app: FastAPI, key_needed: bool, root_path: str) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=[{"name": name, "description": said} for name, said in TAGS.items()],
        servers=[{"url": root_path or "/"}],
        contact={"name": "whoever runs this service"},
    )
    _, own = models_json_schema([(model, "validation") for model in UNDECLARED], ref_template=REF)
    schemas = document["components"]["schemas"]
    for name, schema in own["$defs"].items():
        schemas.setdefault(name, schema)
    document["webhooks"] = {name: {"post": _message(name, *told)} for name, told in MESSAGES.items()}
    for name, sent in SENT.items():
        # It is shown as it was sent, and so is a dict to us.
        schemas[name]["properties"]["request"] = {**_ref(sent), "description": "as it was sent"}
    bound_strings(document)
    add_answers(document)
    document["components"]["examples"] = {code: {"value": _problem(code)} for code in _answered_codes(document)}
    document["components"]["securitySchemes"] = {"bearer": BEARER}
    for path, methods in document["paths"].items():
        for operation in methods.values() if path.startswith(CALLERS_ONLY) else ():
            operation["security"] = [{"bearer": []}] if key_needed else [{}, {"bearer": []}]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _message(name: str, model: type[BaseModel], description: str) -> dict[str, Any]:
    headers = [
        {"name": header, "in": "header", "required": True, "description": said, "schema": {"type": "string"}}
        for header, said in MESSAGE_HEADERS.items()
    ]
    return {
        "operationId": f"{name.replace('.', '_')}_message",
        "tags": ["webhooks"],
        "description": description,
        "parameters": headers,
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(model)}}},
        "responses": {
            "2XX": {"description": "it arrived"},
            "410": {"description": "send no more: the webhook is disabled"},
            "default": {"description": "it is sent again, later"},
        },
    }


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REF.format(model=model.__name__)}


def _answered_codes(document: dict[str, Any]) -> list[str]:
    """What some call may answer; the others are a job's error alone."""
    operations = (operation for methods in document["paths"].values() for operation in methods.values())
    contents = (
        response.get("content", {}).get(MEDIA_TYPE, {})
        for operation in operations
        for response in operation["responses"].values()
    )
    used = {code for content in contents for code in content.get("examples", ())}
    return [code for code in ERRORS if code in used]


def _problem(code: str) -> dict[str, Any]:
    return problem(LayercutError(code, ERRORS[code].title)).model_dump(mode="json")


def _problem_response(codes: list[str]) -> dict[str, Any]:
    # By reference: the same problem can be the answer of thirty calls.
    examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    titles = "; ".join(ERRORS[code].title for code in codes)
    return {"description": titles, "content": {MEDIA_TYPE: {"schema": _ref(Problem), "examples": examples}}}
