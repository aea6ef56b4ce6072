"""Below a prefix, behind a real nginx that strips it or passes it on: every address that is given leads back."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError
from starlette.responses import Response

from service.app import create_app
from service.edge.root_path import RootPath
from service.settings import GatewaySettings
from service.state import GatewayState
from tests.support.gateway_worker import WEIGHTS, claim, succeed
from tests.support.nginx import nginx_server

ROOT = "/ml/layercut"
#: nginx puts what stands after the address in the place of the location's own.
LOCATIONS = {
    "stripped": f"location {ROOT}/ {{ proxy_pass GATEWAY/; proxy_set_header Host $http_host; }}",
    "passed-on": f"location {ROOT}/ {{ proxy_pass GATEWAY; proxy_set_header Host $http_host; }}",
}


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    return settings.model_copy(update={"root_path": ROOT})


@pytest.fixture(params=LOCATIONS)
def site(request: pytest.FixtureRequest, live: tuple[str, GatewayState], tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of the proxy, which has nothing but what lies below the prefix."""
    locations = LOCATIONS[request.param].replace("GATEWAY", live[0])
    with (
        nginx_server(tmp_path, locations, f"{ROOT}/healthz") as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        yield client


def test_every_address_of_a_job_leads_to_it(
    site: httpx.Client, live: tuple[str, GatewayState], body: dict[str, Any], tmp_path: Path
) -> None:
    posted = site.post(f"{ROOT}/v1/jobs", json=body)
    location = posted.headers["Location"]
    assert location == f"{ROOT}/v1/jobs/{posted.json()['id']}"
    assert site.get(location).json()["urls"]["self"] == location

    succeed(live[1], claim(live[1]), tmp_path / "scratch")
    job = site.get(f"{ROOT}/v1/jobs").json()["data"][0]
    for name in ("self", "events", "logs", "report", "files", "download"):
        assert site.get(job["urls"][name]).status_code == 200, name
    [weights] = [file for file in site.get(job["urls"]["files"]).json()["data"] if file["name"] == "model.safetensors"]
    assert site.get(weights["url"]).content == WEIGHTS


def test_a_problem_names_an_address_that_explains_it(site: httpx.Client) -> None:
    for refused in (site.get(f"{ROOT}/v1/jobs/nothing"), site.get(f"{ROOT}/nowhere"), site.put(f"{ROOT}/v1/jobs")):
        problem = refused.json()
        assert problem["type"].startswith(f"{ROOT}/problems/")
        kind = site.get(problem["type"]).json()
        assert (kind["type"], kind["code"]) == (problem["type"], problem["code"])
    assert site.put(f"{ROOT}/v1/jobs").headers["Allow"] == "GET, POST"


def test_the_docs_page_finds_its_files_and_the_document_its_server(site: httpx.Client) -> None:
    page = site.get(f"{ROOT}/docs")
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(named) == 4
    assert {site.get(path).status_code for path in named} == {200}
    # start.js asks for the document beside itself.
    document = site.get(f"{ROOT}/openapi.json").json()
    assert document["servers"] == [{"url": ROOT}]
    assert site.get(document["servers"][0]["url"] + "/version").json()["name"] == "layercut"


def test_a_slash_too_many_is_led_back_below_the_prefix(site: httpx.Client) -> None:
    answer = site.get(f"{ROOT}/v1/jobs/")
    assert answer.status_code == 307
    assert urlsplit(answer.headers["Location"]).path == f"{ROOT}/v1/jobs"
    assert site.get(answer.headers["Location"]).status_code == 200


def test_what_is_refused_before_it_is_a_request_is_explained_there_too(live: tuple[str, GatewayState]) -> None:
    address = urlsplit(live[0])
    assert address.hostname
    assert address.port
    with socket.create_connection((address.hostname, address.port), timeout=10) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n")
        assert f'"type":"{ROOT}/problems/malformed-request"'.encode() in raw.makefile("rb").read()


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/v1/jobs"])
def test_a_prefix_may_be_named_as_one_of_our_own_addresses(settings: GatewaySettings, path: str) -> None:
    with TestClient(create_app(settings.model_copy(update={"root_path": "/v1"}))) as client:
        assert client.get(path).json()["object"] == "list"
        assert client.get("/v1/healthz").json() == {"status": "ok"}
        refused = client.get("/v1/jobs/nothing").json()
        assert client.get(refused["type"]).json()["code"] == "job_not_found"


@pytest.mark.parametrize("wrong", ["layercut", "//evil.example", "/a b", "/a/../b", "/a?b", "http://a/b"])
def test_a_prefix_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError, match="a root path is as in /layercut"):
        GatewaySettings(root_path=wrong)


def test_a_slash_at_its_end_is_no_difference() -> None:
    assert GatewaySettings(root_path="/layercut/").root_path == "/layercut"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("/v1/jobs/1", f"{ROOT}/v1/jobs/1"),
        (f"{ROOT}/v1/jobs/1", f"{ROOT}/v1/jobs/1"),
        ("https://store.example/x", "https://store.example/x"),
    ],
)
def test_whatever_route_gives_an_address_it_is_below_the_prefix_once(given: str, told: str) -> None:
    app = RootPath(Response(headers={"Location": given}), ROOT, frozenset({"v1"}), lambda _: False)
    assert TestClient(app).get(f"{ROOT}/v1/any", follow_redirects=False).headers["Location"] == told
