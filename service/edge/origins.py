"""Pages of other origins that may call: they are told so (CORS), where the operator has named them."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

#: What a page may send beyond what any page may, and read beyond the body.
SENT = (
    "Authorization",
    "Content-Range",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "Prefer",
    "Range",
    "If-Range",
    "If-None-Match",
    "X-Request-ID",
)
READ = (
    "Content-Range", "ETag", "Location", "Preference-Applied", "Repr-Digest", "Retry-After", "Upload-Length",
    "Upload-Offset", "X-Request-ID",
)  # fmt: skip


def allow_origins(app: FastAPI, origins: list[str]) -> None:
    """Answer preflights and mark answers for ``origins``. Without any, no answer has a CORS header."""
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[origin.rstrip("/") for origin in origins],
            allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=SENT,
            expose_headers=READ,
            max_age=600,
        )
