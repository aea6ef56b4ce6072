"""Behind nginx, which sends the files itself; set up as docs/operations.md has it."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.settings import GatewaySettings
from service.state import GatewayState
from tests.support.gateway_worker import FILES, WEIGHTS, claim, succeed, unpack
from tests.support.nginx import nginx_server

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    return settings.model_copy(update={"accel_redirect": "/artifacts/", "trusted_proxies": ["127.0.0.1"]})


@pytest.fixture
def nginx(live: tuple[str, GatewayState], tmp_path: Path) -> Iterator[str]:
    """The address of an nginx before the gateway."""
    (documented,) = re.findall(r"```nginx\n(.*?)```", OPERATIONS.read_text(), re.DOTALL)
    locations = documented.replace("http://127.0.0.1:8000", live[0])
    locations = locations.replace("/var/lib/layercut", str(live[1].settings.data_dir))
    with nginx_server(tmp_path, locations) as url:
        yield url


@pytest.fixture
def job(nginx: str, live: tuple[str, GatewayState], body: dict[str, Any], tmp_path: Path) -> str:
    posted = httpx.post(f"{nginx}/v1/jobs", json=body, trust_env=False)
    succeed(live[1], claim(live[1]), tmp_path / "scratch", **{"1_Pooling/config.json": b"{}"})
    return f"{nginx}/v1/jobs/{posted.json()['id']}"


def test_nginx_sends_the_files(job: str) -> None:
    digest = hashlib.sha256(WEIGHTS).digest()
    with httpx.Client(trust_env=False) as client:
        address = f"{job}/files/model.safetensors"
        answer = client.get(address)
        assert (answer.status_code, answer.content) == (200, WEIGHTS)
        assert "X-Accel-Redirect" not in answer.headers
        assert answer.headers["ETag"] == f'"sha256-{digest.hex()}"'
        assert answer.headers["Repr-Digest"] == f"sha-256=:{b64encode(digest).decode()}:"
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="model.safetensors"'
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Request-Id"]
        etag = answer.headers["ETag"]
        part = client.get(address, headers={"Range": "bytes=5-104", "If-Range": etag})
        assert (part.status_code, part.content) == (206, WEIGHTS[5:105])
        assert client.get(address, headers={"Range": "bytes=5-104", "If-Range": '"other"'}).content == WEIGHTS
        assert client.get(address, headers={"If-None-Match": etag}).status_code == 304
        assert client.get(address, headers={"Range": f"bytes={len(WEIGHTS)}-"}).status_code == 416
        head = client.head(address)
        assert (head.headers["Content-Length"], head.headers["ETag"]) == (str(len(WEIGHTS)), etag)
        assert client.get(f"{job}/files/1_Pooling/config.json").content == b"{}"
        assert client.get(f"{job}/files/vocab.txt").json()["code"] == "file_not_found"


def test_it_does_not_send_the_tar_and_gives_no_file_to_who_asks_it(job: str, nginx: str) -> None:
    with httpx.Client(trust_env=False) as client:
        tar = client.get(f"{job}/download")
        assert unpack(tar.content) == {**FILES, "1_Pooling/config.json": b"{}"}
        assert tar.headers["ETag"] == f'"sha256-{hashlib.sha256(tar.content).hexdigest()}"'
        start = tar.content.index(WEIGHTS)
        part = client.get(f"{job}/download", headers={"Range": f"bytes={start}-{start + 9}"})
        assert (part.status_code, part.content) == (206, WEIGHTS[:10])
        assert client.get(f"{nginx}/artifacts/jobs/").status_code == 404
