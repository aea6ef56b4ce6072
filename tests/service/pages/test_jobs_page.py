"""`/`: what a person reads there without a script, the filters, and the parts that are looked at again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.events import EventType
from service.state import GatewayState
from tests.support.events import say
from tests.support.gateway_worker import claim, succeed
from tests.support.pages import Elements, words_of

HOSTILE = "<script>alert(1)</script>"
PART = {"HX-Request": "true"}


def add(client: TestClient, body: dict[str, Any], **more: Any) -> str:
    found: str = client.post("/v1/jobs", json={**body, **more}).json()["id"]
    return found


def test_who_has_no_job_is_told_how_to_begin(client: TestClient) -> None:
    said = words_of(client.get("/"))
    assert "No job yet" in said
    assert "New job" in said
    assert "curl -s localhost:8000/v1/jobs -d" in said


def test_jobs_are_told_in_words(client: TestClient, state: GatewayState, body: dict[str, Any], finished: str) -> None:
    add(client, body)
    lease = claim(state).lease
    state.store.record(lease, say(EventType.STAGE, "…", stage="pruning"))
    state.store.record(lease, say(EventType.PROGRESS, "…", fraction=0.42, eta_seconds=192.0))
    waiting = add(client, body)
    page = client.get("/")
    said = words_of(page)
    for words in ("Queued", "next", "Running", "pruning", "3 min 12 s left", "Succeeded", "90.00", "400 B", "6 → 4"):
        assert words in said, words
    assert [bar["value"] for bar in Elements(page.text).named("progress")] == ["0.42"]
    rows = re.findall(r"/ui/jobs/(job_\w+)", page.text)
    assert rows[0] == waiting, "newest first"
    assert rows[-1] == finished


def test_a_table_is_looked_at_again_only_while_something_may_change(
    client: TestClient, state: GatewayState, body: dict[str, Any], tmp_path: Path
) -> None:
    add(client, body)
    assert "data-refresh" in client.get("/?status=queued").text
    part = client.get("/?status=queued", headers=PART)
    assert part.text.lstrip().startswith("<section")
    assert 'hx-get="/?status=queued"' in part.text
    succeed(state, claim(state), tmp_path / "scratch")
    assert "data-refresh" not in client.get("/").text


def test_filters(client: TestClient, body: dict[str, Any]) -> None:
    one = add(client, body, metadata={"team": "search"})
    two = add(client, body, task="none", metadata={"team": "ads"})
    client.post(f"/v1/jobs/{two}/cancel")

    def found(**asked: str) -> set[str]:
        page = client.get("/", params=asked)
        assert page.status_code == 200, page.text
        return set(re.findall(r"/ui/jobs/(job_\w+)", page.text))

    assert found() == {one, two}
    assert found(status="cancelled") == {two}
    assert found(metadata="team=search") == {one}
    assert found(metadata=" team = ads ", status="") == {two}
    assert found(model=body["model"], task="none") == {one, two}
    assert found(model="acme/bert") == set()
    page = client.get("/", params={"model": HOSTILE})
    assert "Nothing fits" in words_of(page)
    assert HOSTILE not in page.text
    assert [one["value"] for one in Elements(page.text).named("input") if one.get("name") == "model"] == [HOSTILE]


@pytest.mark.parametrize(("query", "words"), [("status=gone", "status is one of queued"), ("after=x", "not the id")])
def test_what_cannot_be_asked_for_is_told_on_a_page(client: TestClient, query: str, words: str) -> None:
    page = client.get(f"/?{query}")
    assert page.status_code in (400, 422)
    assert words in words_of(page)


def test_pages_of_the_list(client: TestClient, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.pages.routes_jobs.PAGE", 2)
    made = [add(client, body, metadata={"n": "x&y"}) for _ in range(3)]
    first = client.get("/", params={"metadata": "n=x&y"})
    older = [one["href"] for one in Elements(first.text).named("a") if one.get("rel") == "next"]
    assert len(older) == 1
    second = client.get(str(older[0]))
    assert set(re.findall(r"/ui/jobs/(job_\w+)", second.text)) == {made[0]}
    assert not [one for one in Elements(second.text).named("a") if one.get("rel") == "next"]
    assert "Newest" in words_of(second)


def test_what_others_wrote_is_text(client: TestClient, state: GatewayState, body: dict[str, Any]) -> None:
    add(client, {**body, "metadata": {HOSTILE: HOSTILE}})
    lease = claim(state).lease
    error = {"code": "training_diverged", "message": f"'\"{HOSTILE}", "stage": HOSTILE, "param": HOSTILE}
    state.store.finish(lease, say(EventType.FAILED, HOSTILE, error=error))
    for path in ("/", f"/ui/jobs/{lease.job_id}"):
        page = client.get(path)
        assert page.status_code == 200
        assert HOSTILE not in page.text
        assert HOSTILE in words_of(page)
        assert all("src" in script for script in Elements(page.text).named("script"))
