"""What the hub's clients are refused, in the headers that they read; of whom, and of what they may be sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from huggingface_hub.utils import parse_ratelimit_headers
from sqlalchemy import update

from api_schemas.tenants import Quotas, Scope
from service.app import create_app
from service.settings import GatewaySettings
from service.state import GatewayState
from store.columns import later
from store.tables import jobs
from tests.support.access import bearer, key_of
from tests.support.gateway_worker import WEIGHTS, claim, succeed
from tests.support.hub_gateway import refused


def test_a_file_that_is_missing_says_of_which_commit(client: TestClient, file: Callable[..., str], sha256: str) -> None:
    """A client remembers that, and does not ask again where it is offline."""
    for name in ("nothing.json", "manifest.json", "1_Pooling", "%2e%2e/x", "..%2f..%2fetc%2fpasswd", "a%5cb", "%0a"):
        answer = client.head(file(name))
        assert refused(answer) == (404, "EntryNotFound"), name
        assert answer.headers["X-Repo-Commit"] == sha256[:40]
        assert answer.headers["X-Error-Message"].isprintable()


@pytest.mark.parametrize(
    "path",
    [
        "/api/models/jobs/job_unknown",
        "/api/models/jobs/a/b/c",
        "/api/models/jobs/..%2f..%2fx/tree/main",
        "/api/models/gpt2",
        "/api/models/openai/gpt2/revision/main",
        "/jobs/job_unknown/resolve/main/config.json",
        "/jobs/%2e%2e/resolve/main/config.json",
        "/jobs/a%2fb/resolve/main/config.json",
        "/gpt2/resolve/main/config.json",
        "/openai/gpt2/resolve/main/config.json",
        "/v1/gpt2/resolve/main/config.json",
    ],
)
def test_every_other_repository_is_not_there(refusing: TestClient, path: str) -> None:
    answer = refusing.get(path)
    assert refused(answer) == (404, "RepoNotFound")
    assert answer.headers["X-Error-Message"] == answer.json()["detail"]


def test_a_job_without_files_says_why(client: TestClient, body: dict[str, Any]) -> None:
    waiting = client.post("/v1/jobs", json=body).json()["id"]
    answer = client.head(f"/jobs/{waiting}/resolve/main/config.json")
    assert refused(answer) == (409, "RepoNotFound")
    assert "queued" in answer.headers["X-Error-Message"]


def test_so_does_one_whose_files_are_kept_no_longer(
    client: TestClient, state: GatewayState, job_id: str, file: Callable[..., str], api: str
) -> None:
    """As a repository that is not there: with what a client has in its cache it goes on, and shows the reason else."""
    with state.engine.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(expires_at=later(-1)))
    assert state.retention.expire() == [job_id]
    for path in (api, f"{api}/tree/main", file()):
        answer = client.get(path)
        assert refused(answer) == (410, "RepoNotFound")
        assert "were kept until" in answer.headers["X-Error-Message"]


@pytest.fixture
def locked(settings: GatewaySettings) -> Iterator[TestClient]:
    """Of a gateway that wants keys."""
    with TestClient(create_app(settings.model_copy(update={"auth": "on"}))) as client:
        yield client


def test_a_wrong_key_is_told_from_a_repository_that_is_not_there(
    locked: TestClient, body: dict[str, Any], tmp_path: Path
) -> None:
    state: GatewayState = locked.app.state.gateway  # type: ignore[attr-defined]
    writer, reader, other = (
        bearer(key_of(state, *who)) for who in (("a", Scope.SUBMIT), ("a", Scope.READ), ("b", Scope.READ))
    )
    job_id = locked.post("/v1/jobs", json=body, headers=writer).json()["id"]
    succeed(state, claim(state), tmp_path / "scratch")
    api, file = f"/api/models/jobs/{job_id}", f"/jobs/{job_id}/resolve/main/model.safetensors"
    for path, headers in ((api, {}), (file, bearer("hf_of_another_hub")), ("/gpt2/resolve/main/x", bearer("lc_wrong"))):
        answer = locked.get(path, headers=headers)
        assert refused(answer) == (401, None)
        assert answer.headers["X-Error-Message"] == "Invalid credentials in Authorization header"
    assert locked.get(file, headers=reader).content == WEIGHTS
    assert locked.post(f"{api}/paths-info/main", data={"paths": "README.md"}, headers=reader).status_code == 200
    assert locked.get("/api/whoami-v2", headers=reader).json()["name"] == "a"
    for path in (api, file, f"{api}/tree/main", f"{api}/refs"):
        assert refused(locked.get(path, headers=other)) == (404, "RepoNotFound")
    assert locked.post(f"{api}/paths-info/main", data={"paths": "x"}, headers=other).status_code == 404


def test_requests_count_against_the_tenants_rate(locked: TestClient) -> None:
    state: GatewayState = locked.app.state.gateway  # type: ignore[attr-defined]
    state.tenants.create("few", "few", Quotas(requests_per_minute=2))
    key = bearer(key_of(state, "few", Scope.READ))
    assert [locked.get("/api/whoami-v2", headers=key).status_code for _ in range(2)] == [200, 200]
    answer = locked.head("/jobs/job_x/resolve/main/config.json", headers=key)
    assert refused(answer) == (429, None)
    assert parse_ratelimit_headers(answer.headers).remaining == 0  # type: ignore[union-attr]


def test_where_no_key_is_needed_a_token_of_another_hub_is_not_looked_at(
    client: TestClient, file: Callable[..., str]
) -> None:
    assert client.get(file(), headers=bearer("hf_of_another_hub")).content == WEIGHTS
    assert refused(client.get(file(), headers=bearer("lc_wrong")))[0] == 401


def test_only_names_of_this_service_are_answered(client: TestClient, file: Callable[..., str]) -> None:
    answer = client.get(file(), headers={"Host": "evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (421, "misdirected")
    cross = client.get(file(), headers={"Origin": "https://evil.example"})
    assert (cross.status_code, cross.json()["code"]) == (403, "cross_site")


def test_nothing_is_written_there(client: TestClient, file: Callable[..., str], api: str) -> None:
    for method in ("PUT", "DELETE", "PATCH"):
        assert client.request(method, file()).status_code == 405
    assert client.post(f"{api}/commit/main").status_code == 405
    assert client.post("/api/repos/create").status_code == 404
