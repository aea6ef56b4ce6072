"""Who looks at a page: let in as a caller of the API is, or sent to the login page; and forms, which are checked."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request

from api_schemas.errors import LayercutError
from api_schemas.tenants import Scope
from service.authentication import Unauthorized
from service.bodies import read_body
from service.callers import READING, let_in, let_in_session
from service.pages.csrf import FIELD, check_token
from service.pages.sessions import BROWSER, Session, cookie_name, session_of
from service.state import GatewayState

#: Of a form without files.
MOST_FORM_BYTES, MOST_FIELDS = 256 * 1024, 500
FORM = "application/x-www-form-urlencoded"

_NONCE = re.compile(r"[A-Za-z0-9_-]{20,40}")


@dataclass(frozen=True)
class Visit:
    """``anchor`` is what the tokens of this browser's forms are made of; ``is_new`` where it has none yet."""

    session: Session | None
    anchor: str
    is_new: bool


@dataclass(frozen=True)
class Form:
    """The fields of a form, in their order."""

    fields: tuple[tuple[str, str], ...]

    def get(self, name: str, default: str = "") -> str:
        """The last of that name, without space around it."""
        return next((value.strip() for found, value in reversed(self.fields) if found == name), default)

    def all(self, name: str) -> list[str]:
        return [value.strip() for found, value in self.fields if found == name]


def visit_of(request: Request) -> Visit:
    """Found once for a request."""
    found: Visit | None = getattr(request.state, "visit", None)
    if found is None:
        session = session_of(request)
        sent = request.cookies.get(cookie_name(request, BROWSER), "")
        known = sent if _NONCE.fullmatch(sent) else None
        anchor = session.nonce if session else known or secrets.token_urlsafe(24)
        found = request.state.visit = Visit(session, anchor, is_new=session is None and known is None)
    return found


async def _entered(request: Request) -> None:
    state: GatewayState = request.app.state.gateway
    visit = visit_of(request)
    if not state.authenticator.required:
        caller = await let_in(request, None)
    elif visit.session is None:
        raise Unauthorized
    else:
        caller = await let_in_session(request, visit.session)
    if request.method not in READING:
        caller.needs(Scope.SUBMIT, "to change anything")


#: For every page but those of the entrance.
ENTERED = Depends(_entered)


async def _form(request: Request) -> Form:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise LayercutError("unsupported_media_type", f"a form is sent as {FORM}")
    raw = await read_body(request, MOST_FORM_BYTES)
    try:
        form = Form(tuple(parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS)))
    except ValueError:
        raise LayercutError("malformed_request", f"a form is UTF-8, and has {MOST_FIELDS} fields at most") from None
    check_token(request, visit_of(request).anchor, form.get(FIELD))
    return form


#: What was sent from a page of ours: the token is right.
Sent = Annotated[Form, Depends(_form)]
