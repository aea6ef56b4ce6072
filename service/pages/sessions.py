"""Who is logged in: a signed cookie that names a key and does not have it, valid for as long as the key is.

The signature's key is derived from the service's one key, so gateways that share it take each other's sessions.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response

from service.webhooks.signing import Signer
from store.keys import Holder

if TYPE_CHECKING:
    from service.state import GatewayState

SESSION, BROWSER = "layercut_session", "layercut_browser"
#: Then one logs in again.
SECONDS = 12 * 3600
#: A cookie may be 4 KiB; ours are far shorter, and longer ones are not decoded.
LONGEST = 1024


@dataclass(frozen=True)
class Session:
    key_id: str
    tenant: str
    issued: int
    #: What the tokens of this session's forms are made of.
    nonce: str


class Sessions:
    def __init__(self, signer: Signer, clock: Callable[[], float] = time.time) -> None:
        self._signer, self._clock = signer, clock

    def begin(self, holder: Holder) -> str:
        """The cookie of a new session. Only who has shown a key gets one."""
        assert holder.key_id is not None
        session = Session(holder.key_id, holder.tenant, int(self._clock()), secrets.token_urlsafe(16))
        body = _encoded(json.dumps(asdict(session)).encode())
        return f"{body}.{self._signature(body)}"

    def read(self, cookie: str) -> Session | None:
        """None for what we did not sign, and for what is over."""
        body, _, signature = cookie.partition(".")
        if len(cookie) > LONGEST or not cookie.isascii() or not hmac.compare_digest(signature, self._signature(body)):
            return None
        session = Session(**json.loads(base64.urlsafe_b64decode(body + "==")))
        return session if 0 <= self._clock() - session.issued < SECONDS else None

    def token(self, anchor: str) -> str:
        """Which forms of the browser send that has ``anchor``, the session's nonce or what stands for one."""
        return _encoded(hmac.digest(self._token_key, anchor.encode(), hashlib.sha256))

    def _signature(self, body: str) -> str:
        return _encoded(hmac.digest(self._session_key, body.encode(), hashlib.sha256))

    @cached_property
    def _session_key(self) -> bytes:
        return self._signer.derived("session of a browser")

    @cached_property
    def _token_key(self) -> bytes:
        return self._signer.derived("token of a form")


def session_of(request: Request) -> Session | None:
    """Of a request; None where it has none that is ours, and where nobody logs in."""
    state: GatewayState = request.app.state.gateway
    sent = request.headers.get("cookie")
    if sent is None or not state.authenticator.required:
        return None
    cookie = request.cookies.get(cookie_name(request, SESSION))
    return None if cookie is None else state.sessions.read(cookie)


def cookie_name(request: Request, name: str) -> str:
    """With the prefix by which a browser takes it from us alone, where it can hold: https."""
    if request.scope["scheme"] != "https":
        return name
    # Below a prefix of a proxy, what lies beside it is not ours, and is not to get the cookie.
    return f"__Secure-{name}" if _path(request) != "/" else f"__Host-{name}"


def set_cookie(request: Request, response: Response, name: str, value: str, *, seconds: int | None = None) -> None:
    response.set_cookie(cookie_name(request, name), value, max_age=seconds, **_attributes(request))


def drop_cookie(request: Request, response: Response, name: str) -> None:
    response.delete_cookie(cookie_name(request, name), **_attributes(request))


def _attributes(request: Request) -> dict[str, Any]:
    # Lax and not strict: a link to a job in a chat would lead to the login page, else. Nothing is changed by a GET.
    secure = request.scope["scheme"] == "https"
    return {"path": _path(request), "secure": secure, "httponly": True, "samesite": "lax"}


def _path(request: Request) -> str:
    return request.scope.get("root_path", "") or "/"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
