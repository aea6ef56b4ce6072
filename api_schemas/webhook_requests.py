"""What may be asked of webhooks: where messages go, and about which events."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from api_schemas.event_types import EventType
from api_schemas.names import hint
from api_schemas.request_parts import OrString, Request

#: Of an address, in characters.
LONGEST_URL = 2000
#: In the place of what only the receiver should know.
REDACTED = "REDACTED"

EVERY = "*"
TERMINAL = [str(kind) for kind in EventType if kind.terminal]
_NAMES = [*map(str, EventType), EVERY]


def _known(name: str) -> str:
    if name in _NAMES:
        return name
    # A message is a template to pydantic: what a stranger sent goes in as a value.
    raise PydanticCustomError(
        "unknown_event", "there is no event {name}; {hint}", {"name": repr(name[:80]), "hint": hint(name, _NAMES)}
    )


def _distinct(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


EventName = Annotated[str, Field(max_length=80, json_schema_extra={"enum": list(_NAMES)}), AfterValidator(_known)]
Events = Annotated[list[EventName], Field(min_length=1, max_length=len(_NAMES)), AfterValidator(_distinct)]
Url = Annotated[
    str, Field(min_length=1, max_length=LONGEST_URL, json_schema_extra={"pattern": "^https?://[^\\u0000]*$"})
]

_EVENTS = "names of event types, or `*` for all; by default those that end a job"


class JobWebhook(OrString):
    """Who is told of this one job. As a plain string, it is the address. Messages are signed with the secret of
    `POST /v1/webhook-secret`.
    """

    url: Url = Field(description="where messages go")
    events: Events = Field(default=TERMINAL, description=_EVENTS)

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value


class WebhookRequest(Request):
    """The body of ``POST /v1/webhooks``."""

    url: Url = Field(description="where messages are sent: https, at a public address")
    events: Events = Field(default=TERMINAL, description=_EVENTS)


class WebhookChange(Request):
    """The body of ``PATCH /v1/webhooks/{id}``: what is left out stays."""

    url: Url | None = Field(default=None, description="where messages go from now on")
    events: Events | None = Field(default=None, description=_EVENTS)
    enabled: bool | None = Field(default=None, description="true: begin again after it was disabled")


def redacted(url: str) -> str:
    """``url`` without what only its receiver should know: the name before the host, and the values of its query.

    It is no longer than an address may be: what is kept is read again.
    """
    parts = urlsplit(url)
    names = urlencode([(name, REDACTED) for name, _ in parse_qsl(parts.query, keep_blank_values=True)])
    place = (parts.scheme, parts.netloc.rpartition("@")[2], parts.path)
    whole = urlunsplit((*place, names, ""))
    return whole if len(whole) <= LONGEST_URL else urlunsplit((*place, "", ""))


def without_secrets(sent: dict[str, Any]) -> dict[str, Any]:
    """The body of ``POST /v1/jobs`` as it is kept and shown: its webhook's address is redacted."""
    match sent.get("webhook"):
        case str() as url:
            return {**sent, "webhook": redacted(url)}
        case {"url": str() as url, **others}:
            return {**sent, "webhook": {"url": redacted(url), **others}}
    return sent
