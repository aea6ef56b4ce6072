"""Problems written straight to a connection, where there is no request yet that the application could answer."""

from __future__ import annotations

from http import HTTPStatus

from api_schemas.errors import LayercutError, problem
from service.edge.headers import NO_REFERRER, SECURITY
from service.problems import MEDIA_TYPE


def raw_problem(code: str, text: str, root_path: str = "", *, retry_after: int | None = None) -> bytes:
    """A whole HTTP/1.1 answer that ends the connection."""
    body = problem(LayercutError(code, text))
    body.type = root_path + body.type
    status = HTTPStatus(body.status)
    content = body.model_dump_json().encode()
    headers = [
        *SECURITY,
        NO_REFERRER,
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(content)).encode()),
        (b"connection", b"close"),
    ]
    if retry_after is not None:
        headers.append((b"retry-after", str(retry_after).encode()))
    lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode(), *(b": ".join(pair) for pair in headers), b"", content]
    return b"\r\n".join(lines)
