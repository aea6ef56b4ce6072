"""Accept and Prefer, read as their standards say."""

from __future__ import annotations

import pytest

from api_schemas.errors import LayercutError
from service.negotiation import preferred, wait_seconds

OFFERS = ("application/json", "text/markdown")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("", "application/json"),
        ("text/markdown", "text/markdown"),
        ("TEXT/Markdown; charset=utf-8", "text/markdown"),
        ("text/*", "text/markdown"),
        ("application/json;q=0.5, text/markdown", "text/markdown"),
        ("application/json, text/markdown", "application/json"),
        ("*/*;q=0.1, text/markdown;q=0.2", "text/markdown"),
        ("application/json;q=0, */*", "text/markdown"),
    ],
)
def test_the_best_offer_is_chosen(accept: str | None, chosen: str) -> None:
    assert preferred(accept, OFFERS) == chosen


@pytest.mark.parametrize("accept", ["image/png", "text/markdown;q=0", "text/markdown;q=much", "json"])
def test_nothing_is_forced_on_a_client(accept: str) -> None:
    with pytest.raises(LayercutError) as refused:
        preferred(accept, OFFERS)
    assert refused.value.code == "not_acceptable"


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("respond-async", 0),
        ("wait=10", 10),
        ("respond-async, wait=20", 20),
        ("handling=lenient; wait = 5", 5),
        ('wait="7"', 7),
        ("wait=3600", 60),
        ("wait=-1", 0),
        ("wait=soon", 0),
        ("await=9", 0),
    ],
)
def test_how_long_a_client_waits(prefer: str | None, seconds: float) -> None:
    assert wait_seconds(prefer) == seconds
