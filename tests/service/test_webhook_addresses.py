"""Where messages may go. Nothing here asks a name server: what names resolve to is the test's to say."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.errors import LayercutError
from service.settings import GatewaySettings
from service.webhooks.addresses import Policy, check, is_public

PUBLIC = "93.184.215.14"
HTTPS = Policy(frozenset(), plain_http=False)
ANY = Policy(frozenset(), plain_http=True)


@pytest.fixture(autouse=True)
def resolves(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has names resolve to these addresses; what is an address in whatever form stays with the system."""
    table: dict[str, list[str]] = {"example.org": [PUBLIC]}
    real = socket.getaddrinfo

    def look_up(host: str, *args: Any, **more: Any) -> Any:
        if host in table:
            return [entry for address in table[host] for entry in real(address, *args, **more)]
        return real(host, *args, flags=socket.AI_NUMERICHOST, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return lambda host, *addresses: table.update({host: list(addresses)})


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:2800:21f:cb07::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.0.3", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.1", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9",
        "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.88.99.1",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1", "2002:7f00:1::",
        "2002:a9fe:a9fe::", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2001::1", "100::1",
        "no address", "",
    ],
)  # fmt: skip
def test_addresses_inside(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "127.1", "0", "[::1]", "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]", "169.254.169.254", "0xa9fea9fe", "2852039166", "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::]",
        "[fd00:ec2::254]", "10.0.0.8",
    ],
)  # fmt: skip
def test_an_address_inside_is_refused_in_whatever_form(host: str) -> None:
    with pytest.raises(LayercutError, match="has an address inside") as caught:
        check(f"https://{host}/hook", HTTPS)
    assert caught.value.code == "webhook_not_allowed"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.org/hook", "it must be https"),
        ("ftp://example.org/hook", "it must be https://host/path"),
        ("file:///etc/passwd", "it must be https://host/path"),
        ("example.org", "it must be https://host/path"),
        ("https:///hook", "it must be https://host/path"),
        ("https://user:password@example.org/", "must not hold a user or password"),
        ("https://a\\@example.org/", "must not hold a user or password"),
        ("https://example.org:0/", "its port must be 1 to 65535"),
        ("https://example.org:99999/", "its port must be 1 to 65535"),
        ("https://example.org:x/", "it is not a URL"),
        ("https://0177.0.0.1/", "it is not a URL"),
        ("https://xn--a..org/", "cannot be resolved"),
        ("https://xn--ls8h.invalid/", "cannot be resolved"),
        (f"https://{'a' * 70}.org/", "cannot be resolved"),
        ("https://a..b/", "cannot be resolved"),
        ("https://[fe80::1%25eth0]/", "its host must be a name or an address"),
        ("https://local%68ost/", "its host must be a name or an address"),
        ("https://nowhere.invalid/", "cannot be resolved"),
        (f"https://example.org/{'a' * 2000}", "more than 2000 characters"),
    ],
)
def test_what_no_message_is_sent_to(url: str, reason: str) -> None:
    with pytest.raises(LayercutError, match=reason):
        check(url, HTTPS)


def test_all_addresses_of_a_name_must_be_public(resolves: Callable[..., None]) -> None:
    check("https://example.org:8443/hook?token=1", HTTPS)
    resolves("half.example.org", PUBLIC, "127.0.0.1")
    with pytest.raises(LayercutError, match="has an address inside") as caught:
        check("https://half.example.org/", HTTPS)
    assert "127.0.0.1" not in caught.value.message


def test_what_the_operator_allows(resolves: Callable[..., None]) -> None:
    resolves("hooks.internal", "10.1.2.3")
    check("https://HOOKS.internal/", Policy(frozenset({"hooks.internal"}), plain_http=False))
    check("http://example.org/", ANY)
    with pytest.raises(LayercutError, match="inside"):
        check("http://hooks.internal/", ANY)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://169.254.169.254/latest/meta-data", "an address inside"),
        ("http://example.org/", "must be https"),
        ("nonsense", "https://host/path"),
    ],
)
def test_a_request_says_which_field(client: TestClient, body: dict[str, Any], url: str, reason: str) -> None:
    for path, sent, pointer in (
        ("/v1/webhooks", {"url": url}, "/url"),
        ("/v1/jobs", {**body, "webhook": url}, "/webhook"),
        ("/v1/jobs", {**body, "webhook": {"url": url}}, "/webhook/url"),
        ("/v1/jobs?validate_only=true", {**body, "webhook": {"url": url}}, "/webhook/url"),
    ):
        answer = client.post(path, json=sent)
        assert (answer.status_code, answer.json()["code"]) == (422, "webhook_not_allowed"), path
        assert answer.json()["errors"][0]["pointer"] == pointer
        assert reason in answer.json()["detail"]
    assert client.get("/v1/jobs").json()["data"] == []


def test_an_unknown_event_says_which_field_and_the_near_ones(client: TestClient, body: dict[str, Any]) -> None:
    hook = {"url": "https://example.org/", "events": ["job.failed", "job.succeded"]}
    for path, sent, pointer in (
        ("/v1/webhooks", hook, "/events/1"),
        ("/v1/jobs", {**body, "webhook": hook}, "/webhook/events/1"),
    ):
        answer = client.post(path, json=sent)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
        assert answer.json()["errors"][0]["pointer"] == pointer
        assert "did you mean job.succeeded" in answer.json()["errors"][0]["message"]


def test_settings_become_a_policy() -> None:
    settings = GatewaySettings.model_validate({"webhook_hosts": "Hooks.internal, 10.0.0.8", "webhook_plain_http": True})
    assert Policy.of(settings) == Policy(frozenset({"hooks.internal", "10.0.0.8"}), plain_http=True)
