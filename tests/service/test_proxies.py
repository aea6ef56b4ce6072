"""Whose request it is, where something stands between: a header is believed of the proxies that were named, only."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from service.settings import GatewaySettings
from service.state import GatewayState

Ask = Callable[[str], str]


@pytest.fixture
def trusted() -> list[str]:
    return []


@pytest.fixture
def settings(settings: GatewaySettings, trusted: list[str]) -> GatewaySettings:
    return settings.model_copy(update={"trusted_proxies": trusted})


@pytest.fixture
def noted(live: tuple[str, GatewayState]) -> Ask:
    """Make a key, with that X-Forwarded-For: the address that the audit log has of it."""

    def ask(forwarded: str) -> str:
        sent = {"name": "ci", "scope": "read"}
        made = httpx.post(
            f"{live[0]}/v1/keys", json=sent, headers={"X-Forwarded-For": forwarded}, trust_env=False
        ).raise_for_status()
        lines, _ = live[1].audit.page(None)
        (line,) = (line for line in lines if line.target == made.json()["id"])
        assert line.address is not None
        return line.address

    return ask


def test_a_header_of_anybody_is_not_believed(noted: Ask) -> None:
    assert noted("203.0.113.7") == "127.0.0.1"


@pytest.mark.parametrize("trusted", [["127.0.0.0/8"]])
def test_that_of_a_proxy_is_where_it_is_an_address(noted: Ask) -> None:
    assert noted("203.0.113.7") == "203.0.113.7"
    assert noted("10.0.0.1, 203.0.113.8") == "203.0.113.8"
    assert noted("x" * 9_000) == "unknown"
