"""A small file that a form of a page sends, or the text that was pasted in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from api_schemas.errors import LayercutError
from service.bodies import parse_json, read_body
from service.pages.csrf import FIELD, check_token
from service.pages.fields import Body
from service.pages.visits import visit_of
from service.uploads.form import MEDIA_TYPE, Form

#: Of a job file, with what stands around it.
MOST_BYTES = 512 * 1024
#: Fields of such a form.
MOST_PARTS = 8


@dataclass(frozen=True)
class Sent:
    content: bytes

    def as_json(self) -> Body:
        """Raises ``malformed_request``."""
        return parse_json(self.content)


async def _sent(request: Request) -> Sent:
    content_type = request.headers.get("content-type", "")
    if not content_type.lower().startswith(MEDIA_TYPE):
        raise LayercutError("unsupported_media_type", f"a form with a file is sent as {MEDIA_TYPE}")
    raw = await read_body(request, MOST_BYTES)
    found: dict[str, bytes] = {}
    for number, part in enumerate(Form(content_type, iter((raw,))).parts()):
        if number >= MOST_PARTS:
            raise LayercutError("malformed_request", f"the form has more than {MOST_PARTS} fields")
        found[part.name] = b"".join(part.blocks)
    token = found.get(FIELD)
    check_token(request, visit_of(request).anchor, None if token is None else token.decode("utf-8", "replace"))
    return Sent(found.get("file") or found.get("text") or b"")


SentFile = Annotated[Sent, Depends(_sent)]
