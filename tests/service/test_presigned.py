"""Files sent by an object store itself, at addresses that it checks: SeaweedFS, which clients reach by another name."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import structlog
from fastapi.testclient import TestClient

from api_schemas.tenants import Scope
from service.settings import GatewaySettings
from service.state import GatewayState
from store.tables import DEFAULT_TENANT
from tests.support.access import bearer, key_of
from tests.support.gateway_worker import FILES, WEIGHTS, claim, succeed, unpack
from tests.support.processes import eventually
from tests.support.seaweedfs import OWNER, Seaweed


@pytest.fixture
def outside(seaweedfs: Seaweed) -> str:
    """Another name of the server: a signature is of the host's name too."""
    return f"http://localhost:{seaweedfs.port}"


@pytest.fixture
def settings(settings: GatewaySettings, s3_url: str, outside: str) -> GatewaySettings:
    values = {"artifacts_url": s3_url, "presigned_seconds": 60, "presigned_endpoint": outside}
    return settings.model_copy(update=values)


@pytest.fixture
def there(client: TestClient, finished: str) -> str:
    """The address at which the store sends the weights."""
    answer = client.get(f"/v1/jobs/{finished}/files/model.safetensors", follow_redirects=False)
    assert answer.status_code == 307
    assert "no-store" in answer.headers["Cache-Control"]
    return answer.headers["Location"]


@pytest.fixture
def store() -> Iterator[httpx.Client]:
    """Of somebody who has no key."""
    with httpx.Client(trust_env=False) as client:
        yield client


def test_the_store_sends_the_file_or_a_part_of_it_by_the_name_that_callers_know(
    store: httpx.Client, there: str, outside: str
) -> None:
    assert there.startswith(outside)
    whole = store.get(there)
    assert (whole.status_code, whole.content) == (200, WEIGHTS)
    assert whole.headers["Accept-Ranges"] == "bytes"
    part = store.get(there, headers={"Range": "bytes=5-104"})
    assert (part.status_code, part.content) == (206, WEIGHTS[5:105])
    same = store.get(there, headers={"If-None-Match": whole.headers["ETag"]})
    assert (same.status_code, same.content) == (304, b"")


def test_it_is_for_this_file_and_for_reading_alone(store: httpx.Client, there: str) -> None:
    assert store.get(there.replace("model.safetensors", "report.json")).status_code == 403
    assert store.put(there, content=b"mine").status_code == 403
    assert store.delete(there).status_code == 403
    assert store.get(there.replace("localhost", "127.0.0.1")).status_code == 403, "it is signed for the one name"


def test_it_ends_with_its_time(client: TestClient, store: httpx.Client, finished: str, state: GatewayState) -> None:
    prefix = state.store.artifact(finished)
    assert prefix is not None
    address = state.artifacts.presigned(prefix, "model.safetensors", 5)
    assert address is not None
    assert store.get(address).status_code == 200
    eventually(lambda: store.get(address).status_code == 403)


def test_what_the_store_cannot_do_we_do(client: TestClient, finished: str) -> None:
    """The tar is no object there; who only asks needs no address; and who has the file already gets none."""
    assert unpack(client.get(f"/v1/jobs/{finished}/download", follow_redirects=False).content) == FILES
    address = f"/v1/jobs/{finished}/files/model.safetensors"
    head = client.head(address, follow_redirects=False)
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(WEIGHTS)))
    assert client.get(address, headers={"If-None-Match": head.headers["ETag"]}).status_code == 304


def test_a_file_that_is_gone_or_a_store_that_is_away_is_told_by_us(
    client: TestClient, state: GatewayState, finished: str, seaweedfs: Seaweed
) -> None:
    state.artifacts._sweeper.delete([f"{state.store.artifact(finished)}/model.safetensors"], "jobs")
    answer = client.get(f"/v1/jobs/{finished}/files/model.safetensors", follow_redirects=False)
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    seaweedfs.freeze()
    try:
        answer = client.get(f"/v1/jobs/{finished}/files/report.json", follow_redirects=False)
    finally:
        seaweedfs.thaw()
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert "takes connections and does not answer" in answer.json()["detail"]


def test_the_address_stands_in_no_log(client: TestClient, finished: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = structlog.testing.LogCapture()
    # Not by capture_logs: a logger that a test before has used keeps what was configured then.
    log = structlog.wrap_logger(None, processors=[told], wrapper_class=structlog.BoundLogger)
    monkeypatch.setattr("service.middleware.log", log)
    client.get(f"/v1/jobs/{finished}/files/model.safetensors", follow_redirects=False)
    assert any(f"/v1/jobs/{finished}/files/" in str(line) for line in told.entries), "the request itself is told"
    assert ("X-Amz" in str(told.entries), OWNER.access_key in str(told.entries)) == (False, False)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_follows_goes_on_and_asks_for_ranges(
    live: tuple[str, GatewayState], body: dict[str, object], tmp_path: Path, outside: str
) -> None:
    address, state = live
    key = bearer(key_of(state, DEFAULT_TENANT, Scope.SUBMIT))
    job_id = httpx.post(f"{address}/v1/jobs", json=body, headers=key, trust_env=False).json()["id"]
    succeed(state, claim(state), tmp_path / "scratch")
    file = f"{address}/v1/jobs/{job_id}/files/model.safetensors"
    folder = tmp_path / "got"
    folder.mkdir()

    def curl(*options: str) -> str:
        # A key for us is none for the store: curl sends it to the first host alone.
        told = ["curl", "-sSfL", "--noproxy", "*", "-H", f"Authorization: {key['Authorization']}", *options]
        return subprocess.run(told, cwd=folder, check=True, capture_output=True, text=True, timeout=60).stdout

    effective = curl("-O", "-w", "%{url_effective}", file)
    assert urlsplit(effective).netloc == urlsplit(outside).netloc
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    (folder / "part").write_bytes(WEIGHTS[:1000])
    curl("-C", "-", "-o", "part", file)
    assert (folder / "part").read_bytes() == WEIGHTS
    curl("-r", "5-104", "-o", "range", file)
    assert (folder / "range").read_bytes() == WEIGHTS[5:105]
