"""What an address may be: of bounded length, and with nothing in it that a database could not hold."""

from __future__ import annotations

from starlette.types import Scope

from api_schemas.errors import LayercutError

MAX_PATH = 2048
MAX_QUERY = 8192


def check_address(scope: Scope) -> None:
    """Raise ``uri_too_long``, or ``malformed_request`` for a NUL character."""
    path, query = scope["path"], scope["query_string"]
    if len(path) > MAX_PATH:
        raise LayercutError("uri_too_long", f"a path may have {MAX_PATH} characters; this one has {len(path)}")
    if len(query) > MAX_QUERY:
        raise LayercutError("uri_too_long", f"a query may have {MAX_QUERY} bytes; this one has {len(query)}")
    if "\0" in path or b"%00" in query or b"\0" in query:
        raise LayercutError("malformed_request", "the address has a NUL character (%00)")
