"""What is refused, in the words of the hub's client: it reads headers, and of a HEAD nothing else comes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api_schemas.errors import LayercutError

#: By which the client tells what is missing. With ``RepoNotFound`` it goes on with what it has in its cache, and shows
#: our sentence where it has nothing: of any other error it says that the hub could not be reached.
CODES = {
    "not_found": "RepoNotFound",
    "job_not_found": "RepoNotFound",
    "result_not_ready": "RepoNotFound",
    "expired": "RepoNotFound",
    "revision_not_found": "RevisionNotFound",
    "file_not_found": "EntryNotFound",
}
#: By this sentence it tells a wrong key from a repository that is not there.
WRONG_KEY = "Invalid credentials in Authorization header"

#: Of a sentence in a header, in characters.
LONGEST = 500


class HubRefusal(LayercutError):
    """``error`` with the headers of the hub, and ``more``."""

    def __init__(self, error: LayercutError, **more: str) -> None:
        super().__init__(error.code, error.message, param=error.param)
        code = CODES.get(error.code)
        said = WRONG_KEY if error.code == "unauthorized" else _one_line(error.message)
        self.headers: dict[str, str] = {
            **getattr(error, "headers", {}),
            **({"X-Error-Code": code} if code else {}),
            "X-Error-Message": said,
            **more,
        }


class HubRoute(APIRoute):
    """A route whose refusals, those of its dependencies too, the hub's client understands."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_hub(request: Request) -> Response:
            try:
                return await handle(request)
            except HubRefusal:
                raise
            except LayercutError as error:
                raise HubRefusal(error) from error

        return handle_hub


def _one_line(text: str) -> str:
    """A header has no line ends, and no characters but those of ASCII."""
    plain = " ".join(text.replace("…", "...").split())
    return plain.encode("ascii", "replace").decode()[:LONGEST]
