"""The hub's client goes where the hub sends it, but not to addresses inside."""

from __future__ import annotations

import httpx2
import pytest
from huggingface_hub import constants

from api_schemas.errors import LayercutError
from sources.hub_client import check_address


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:1/x",
        "http://localhost:1/x",
        "http://[::1]/x",
        "http://10.0.0.1/x",
        "http://0.0.0.0/x",
        "http://[::ffff:127.0.0.1]/x",
        "http://2130706433/x",
    ],
)
def test_addresses_inside_are_refused(url: str) -> None:
    with pytest.raises(LayercutError, match="an address inside") as caught:
        check_address(httpx2.URL(url), [])
    assert caught.value.code == "model_not_allowed"


def test_the_hubs_own_address_public_ones_and_those_allowed_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:8500")

    check_address(httpx2.URL("http://127.0.0.1:8500/api/models/x"), [])
    check_address(httpx2.URL("http://8.8.8.8/x"), [])
    check_address(httpx2.URL("http://10.0.0.1/x"), ["10.0.0.1"])
    with pytest.raises(LayercutError):
        check_address(httpx2.URL("http://127.0.0.1:8501/x"), [])
