"""Who may call: Host, Origin and Sec-Fetch-Site, as browsers send them and as curl does not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.edge.callers import host_check
from service.settings import GatewaySettings

OWN = "http://gateway.example.org:8000"


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    names = ["gateway.example.org", "*.inside.example"]
    return settings.model_copy(update={"allowed_hosts": names, "allowed_origins": ["https://app.example.org"]})


@pytest.fixture
def client(settings: GatewaySettings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), base_url=OWN) as client:
        yield client


def test_a_name_of_ours_or_any_address_is_a_host() -> None:
    is_ours = host_check(["gateway.example.org", "*.inside.example", "Upper.example."], "10.0.0.5")
    for host in (
        "localhost", "LOCALHOST:8000", "localhost.", "a.localhost", "127.0.0.1:8000", "[::1]:8000", "10.0.0.5",
        "192.168.7.7:80", "gateway.example.org", "a.inside.example", "a.b.inside.example:1", "upper.example",
    ):  # fmt: skip
        assert is_ours(host.encode()), host


def test_no_other_name_is_a_host() -> None:
    is_ours = host_check(["gateway.example.org", "*.inside.example"], "127.0.0.1")
    for host in (
        "", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "inside.example", "eviltinside.example",
        "xgateway.example.org", "gateway.example.org:port", "user@localhost", "localhost/x", "localhost, evil.example",
        "[::1", "[evil]", "localhost\t", "loc\xe4lhost", "a" * 300, "*", "*.inside.example", "localhost:80:80",
    ):  # fmt: skip
        assert not is_ours(host.encode("latin-1")), host


def test_any_host_is_taken_where_that_is_set() -> None:
    assert host_check(["*"], "127.0.0.1")(b"evil.example")


def test_another_host_is_refused_with_the_setting_to_change(client: TestClient) -> None:
    for path in ("/v1/jobs", "/healthz", "/docs", "/nowhere"):
        answer = client.get(path, headers={"Host": "evil.example"})
        assert (answer.status_code, answer.json()["code"]) == (421, "misdirected")
        assert "LAYERCUT_ALLOWED_HOSTS" in answer.json()["detail"]
        assert answer.json()["request_id"] == answer.headers["X-Request-ID"]


CROSS = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://gateway.example.org"},  # another port
    {"Origin": "https://gateway.example.org:8000"},  # another scheme, and no browser that says same-origin
    {"Origin": "http://gateway.example.org:8000.evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "nonsense"},
    {"Sec-Fetch-Site": "cross-site", "Origin": OWN},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},  # a form's POST
]


@pytest.mark.parametrize("headers", CROSS, ids=str)
def test_a_page_of_another_site_can_do_nothing(client: TestClient, headers: dict[str, str]) -> None:
    job_id = client.post("/v1/jobs", json={"model": "google-bert/bert-base-uncased", "task": "sst2"}).json()["id"]
    for method, path in (("POST", "/v1/jobs"), ("POST", f"/v1/jobs/{job_id}/cancel"), ("GET", f"/v1/jobs/{job_id}")):
        answer = client.request(method, path, headers=headers, content=b"{}")
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
        assert "LAYERCUT_ALLOWED_ORIGINS" in answer.json()["detail"]
    assert client.get(f"/v1/jobs/{job_id}").json()["status"] == "queued"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": OWN},
        {"Origin": OWN, "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://gateway.example.org:8000", "Sec-Fetch-Site": "same-origin"},  # a proxy ends TLS
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://app.example.org", "Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
def test_our_own_pages_named_origins_and_programs_may_call(client: TestClient, headers: dict[str, str]) -> None:
    body = {"model": "google-bert/bert-base-uncased", "task": "sst2"}
    assert client.post("/v1/jobs", json=body, headers=headers).status_code == 202


def test_a_link_from_another_site_leads_to_the_docs(client: TestClient) -> None:
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.get("/docs", headers=visit).status_code == 200
    assert client.get("/docs", headers={**visit, "Sec-Fetch-Dest": "iframe"}).status_code == 403


def test_a_named_origin_is_told_that_it_may(client: TestClient) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    good = client.options("/v1/jobs", headers={"Origin": "https://app.example.org", **asked})
    assert (good.status_code, good.headers["Access-Control-Allow-Origin"]) == (200, "https://app.example.org")
    bad = client.options("/v1/jobs", headers={"Origin": "https://evil.example", **asked})
    assert bad.status_code == 403
    assert "Access-Control-Allow-Origin" not in bad.headers


def test_without_named_origins_no_answer_has_a_cors_header(settings: GatewaySettings) -> None:
    settings.allowed_origins = []
    with TestClient(create_app(settings), base_url=OWN) as client:
        for headers in ({}, {"Origin": OWN}, {"Origin": "https://app.example.org"}):
            answer = client.get("/v1/strategies", headers=headers)
            assert not [name for name in answer.headers if name.startswith("access-control")]
