"""What a browser does with our pages: keeps cookies, fills in forms, follows what they lead to."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser

from fastapi.testclient import TestClient
from httpx import Response

_TOKEN = re.compile(r'name="csrf-token" content="([^"]+)"')


def token_of(page: Response) -> str:
    """The token that the forms of the page send."""
    found = _TOKEN.search(page.text)
    assert found, page.text[:300]
    return found[1]


def log_in(client: TestClient, key: str, following: str = "/") -> Response:
    """As the login page does; what it leads to."""
    page = client.get("/ui/login")
    return client.post("/ui/login", data={"csrf": token_of(page), "key": key, "next": following})


def send(client: TestClient, path: str, page: Response | None = None, **fields: str) -> Response:
    """A form of ``page``, by default of the list of jobs; not followed."""
    token = token_of(page or client.get("/"))
    return client.post(path, data={"csrf": token, **fields}, follow_redirects=False)


class Elements(HTMLParser):
    """All elements of a page: (name, attributes)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def named(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag in tags]

    @property
    def addresses(self) -> list[str]:
        """What it leads to, loads and sends to."""
        names = ("href", "src", "action", "hx-get", "data-live", "formaction")
        return [value for _, attributes in self.found for name in names if (value := attributes.get(name))]


def words_of(page: Response) -> str:
    """What a person reads: without elements, with single spaces."""
    body = re.sub(r"(?s)<(head|script|template)\b.*?</\1>", " ", page.text)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())
