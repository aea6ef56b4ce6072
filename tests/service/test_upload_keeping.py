"""What was sent: whose it is, what it counts for, and how long it stays."""

from __future__ import annotations

from fastapi.testclient import TestClient

from api_schemas.tenants import Quotas, Scope
from service.retention import expire_uploads, sweep_uploads
from service.state import GatewayState
from store.columns import later
from store.upload_tables import uploads as rows
from tests.support.access import bearer, key_of
from tests.support.uploading import (
    CSV,
    DATASETS,
    MODEL,
    MODELS,
    announce,
    form,
    refused,
    stored,
    tarred,
)


def test_pages_and_deleting(client: TestClient, state: GatewayState) -> None:
    ids = [client.post(DATASETS, files=form({"a.csv": CSV})).json()["id"] for _ in range(3)]
    page = client.get(DATASETS, params={"limit": 2}).json()
    assert ([one["id"] for one in page["data"]], page["has_more"]) == ([ids[2], ids[1]], True)
    page = client.get(DATASETS, params={"after": page["next_cursor"]}).json()
    assert ([one["id"] for one in page["data"]], page["next_cursor"]) == ([ids[0]], None)
    refused(client.get(DATASETS, params={"after": "x"}), 400, "invalid_cursor")
    assert client.get(MODELS).json()["data"] == []
    for _ in range(2):
        assert client.delete(f"{DATASETS}/{ids[0]}").status_code == 204
    refused(client.get(f"{DATASETS}/{ids[0]}"), 404, "upload_not_found")
    refused(client.get(f"{MODELS}/{ids[1]}"), 404, "upload_not_found")
    sweep_uploads(state)
    assert {name.partition("/")[0] for name in stored(state)} == set(ids[1:])


def test_they_expire(client: TestClient, state: GatewayState) -> None:
    ready = client.post(DATASETS, files=form({"a.csv": CSV})).json()
    begun = announce(client, {"a.csv": CSV})
    client.put(f"{DATASETS}/{begun}/files/a.csv", content=CSV)
    expire_uploads(state)
    assert len(client.get(DATASETS).json()["data"]) == 2
    with state.engine.begin() as connection:
        connection.execute(rows.update().values(expires_at=later(-1)))
    expire_uploads(state)
    for upload_id in (ready["id"], begun):
        refused(client.get(f"{DATASETS}/{upload_id}"), 410, "expired", "was kept until")
    refused(client.put(f"{DATASETS}/{begun}/files/a.csv", content=CSV), 410, "expired")
    sweep_uploads(state)
    assert stored(state) == []


def test_a_tenant_has_its_own_within_its_quota(client: TestClient, state: GatewayState) -> None:
    for tenant in ("team-a", "team-b"):
        state.tenants.create(tenant, tenant, Quotas(artifact_bytes=100))
    ours, theirs = (bearer(key_of(state, tenant, Scope.SUBMIT)) for tenant in ("team-a", "team-b"))
    made = client.post(DATASETS, files=form({"a.csv": CSV}), headers=ours)
    # The form around the file counts until it is known how much of it is the file.
    refused(made, 429, "quota_exceeded", "the quota artifact_bytes is 100")
    state.tenants.change("team-a", artifact_bytes=300)
    upload_id = client.post(DATASETS, files=form({"a.csv": CSV}), headers=ours).json()["id"]
    limits = client.get("/v1/limits", headers=ours).json()["usage"]
    assert (limits["uploads_bytes"], limits["artifact_bytes"]) == (len(CSV), len(CSV))
    address = f"{DATASETS}/{upload_id}"
    for answer in (
        client.get(address, headers=theirs),
        client.delete(address, headers=theirs),
        client.put(f"{address}/files/a.csv", content=CSV, headers=theirs),
        client.post(f"{address}/complete", headers=theirs),
    ):
        refused(answer, 404, "upload_not_found")
    assert client.get(DATASETS, headers=theirs).json()["data"] == []
    reads = bearer(key_of(state, "team-a", Scope.READ))
    assert client.get(address, headers=reads).status_code == 200
    for answer in (client.delete(address, headers=reads), client.post(DATASETS, headers=reads)):
        refused(answer, 403, "forbidden")
    lines = state.audit.page("team-a")[0]
    assert ("upload.ready", upload_id) in [(line.action, line.target) for line in lines]


def test_what_unpacks_to_more_than_the_quota_has_room_for_is_refused(client: TestClient, state: GatewayState) -> None:
    packed = tarred({**MODEL, "vocab.txt": b"word\n" * 2000}, "bert/")
    state.tenants.create("team-a", "A", Quotas(artifact_bytes=3000))
    assert len(packed) < 2000
    answer = client.post(
        MODELS, files=form({"a.tar.gz": packed}), headers=bearer(key_of(state, "team-a", Scope.SUBMIT))
    )
    refused(answer, 429, "quota_exceeded", "has room for 3000 bytes")
    assert stored(state) == []


def test_a_post_that_is_sent_again_is_answered_again(client: TestClient) -> None:
    for sent in ({"files": form({"a.csv": CSV})}, {"json": {"files": [{"name": "a.csv", "bytes": 3}]}}):
        key = {"Idempotency-Key": f"key-{len(sent)}-{'json' in sent}"}
        first, again = (client.post(DATASETS, headers=key, **sent) for _ in range(2))
        assert first.status_code == again.status_code == 201
        assert (again.json(), again.headers["Location"]) == (first.json(), first.headers["Location"])
        assert again.headers["Idempotency-Replayed"] == "true"
    assert len(client.get(DATASETS).json()["data"]) == 2
    answer = client.post(DATASETS, headers=key, json={"files": [{"name": "b.csv", "bytes": 3}]})
    refused(answer, 422, "idempotency_key_reused")


def test_without_room_nothing_is_taken(client: TestClient, state: GatewayState) -> None:
    state.settings.min_free_bytes = 2**60
    for sent in ({"files": form({"a.csv": CSV})}, {"json": {"files": [{"name": "a.csv", "bytes": 3}]}}):
        refused(client.post(DATASETS, **sent), 507, "storage_full", "are kept free")  # type: ignore[arg-type]
    assert stored(state) == []


def test_more_than_the_disk_has_room_for_is_not_begun(client: TestClient, state: GatewayState) -> None:
    state.settings.upload_bytes = 2**50
    huge = {"files": [{"name": "a.csv", "bytes": 2**49}]}
    refused(client.post(DATASETS, json=huge), 507, "storage_full", "and this needs")
    assert client.get(DATASETS).json()["data"] == []


def test_uploads_are_counted(client: TestClient) -> None:
    client.post(DATASETS, files=form({"a.csv": CSV}))
    client.post(DATASETS, files=form({"a.csv": b""}))
    told = client.get("/metrics").text
    assert 'layercut_uploads_total{kind="dataset",outcome="ready"} 1.0' in told
    assert 'layercut_uploads_total{kind="dataset",outcome="refused"} 1.0' in told
    assert f'layercut_upload_bytes_total{{kind="dataset"}} {float(len(CSV))}' in told
