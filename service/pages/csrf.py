"""Forms are ours: each sends a token that another site's page cannot know, beside the cookie that it cannot read."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from fastapi import Request

from api_schemas.errors import LayercutError

if TYPE_CHECKING:
    from service.state import GatewayState

#: In a form, and in the head of a script's request.
FIELD, TOKEN_HEADER = "csrf", "X-CSRF-Token"


def check_token(request: Request, anchor: str, sent: str | None) -> None:
    """Raise ``csrf_refused`` unless ``sent`` is the token of ``anchor``."""
    state: GatewayState = request.app.state.gateway
    if sent is None or not hmac.compare_digest(sent.encode(), state.sessions.token(anchor).encode()):
        raise LayercutError(
            "csrf_refused",
            f"a form sends the token of its page as `{FIELD}`, a script as {TOKEN_HEADER}: load the page again, and"
            " send it from there",
        )
