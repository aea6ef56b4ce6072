"""A job's page: what a person reads there without a script, and what they can do with it."""

from __future__ import annotations

import json
import shlex
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.events import EventType
from api_schemas.jobs import Stage, Status
from service.pages.views.job import parents_of
from service.pages.views.states import STAGES, STATUSES
from service.settings import GatewaySettings
from service.state import GatewayState
from tests.support.events import say
from tests.support.gateway_worker import FILES, claim, succeed
from tests.support.pages import Elements, send, token_of, words_of
from tests.support.reports import report

HOSTILE = "</pre><script>alert(1)</script>"


@pytest.fixture
def queued(client: TestClient, body: dict[str, Any]) -> str:
    found: str = client.post("/v1/jobs", json={**body, "metadata": {"team": "search"}}).json()["id"]
    return found


def stages_of(page: Any) -> dict[str, str]:
    """What is told of each stage."""
    items = [one for one in Elements(page.text).named("li") if "data-stage" in one]
    return {str(one["data-stage"]): str(one["class"]).removeprefix("stage ") for one in items}


def test_every_status_and_stage_has_its_words() -> None:
    assert set(STATUSES) == set(Status)
    assert set(STAGES) == set(Stage)
    assert len({(word.shape, word.text) for word in STATUSES.values()}) == len(Status)


def test_a_job_that_waits(client: TestClient, queued: str) -> None:
    page = client.get(f"/ui/jobs/{queued}")
    said = words_of(page)
    for words in (queued, "Queued", "Place 1 in the queue", "Cancel", "team", "search", "Kept 0–3 · Dropped 4, 5"):
        assert words in said, words
    assert set(stages_of(page).values()) == {"ahead"}
    refresh = [one for one in Elements(page.text).named("meta") if one.get("http-equiv") == "refresh"]
    assert len(refresh) == 1, "without a script it is looked at again"


def test_stages_and_progress_of_one_that_runs(client: TestClient, state: GatewayState, queued: str) -> None:
    lease = claim(state).lease
    for stage, more in (
        ("resolving", {}),
        ("baseline", {"skipped": True}),
        ("pruning", {}),
        ("recovering", {"seed": 7}),
    ):
        state.store.record(lease, say(EventType.STAGE, "…", stage=stage, **more))
    progress = {"fraction": 0.5, "step": 1200, "total_steps": 2400, "loss": 0.1234, "eta_seconds": 75.0}
    state.store.record(lease, say(EventType.PROGRESS, "…", **progress))
    page = client.get(f"/ui/jobs/{queued}")
    said = words_of(page)
    for words in ("Running", "1 min 15 s left", "step 1,200 of 2,400", "loss 0.123", "seed 7", "worker-1", "50 %"):
        assert words in said, words
    stages = stages_of(page)
    assert [stages[name] for name in ("resolving", "baseline", "pruning", "recovering", "exporting")] == [
        "done", "skipped", "done", "current", "ahead",
    ]  # fmt: skip
    at = [one["data-stage"] for one in Elements(page.text).named("li") if one.get("aria-current") == "step"]
    assert at == ["recovering"]
    live = Elements(page.text).named("div")
    assert f"/v1/jobs/{queued}/events" in [one.get("data-live") for one in live]


def test_what_came_of_one(client: TestClient, state: GatewayState, queued: str, tmp_path: Path) -> None:
    made = report(job_id=queued, warnings=["Few rows."]).model_dump_json().encode()
    succeed(state, claim(state), tmp_path / "scratch", **{"report.json": made})
    page = client.get(f"/ui/jobs/{queued}")
    said = words_of(page)
    for words in ("As good as before", "Score (accuracy) 92.43 91.60 99.1 % kept", "438 MB 324 MB −26 %", "Few rows.",
                  "Latency, median batch 32, 128 tokens 100.0 ms 67.0 ms 1.49 × as fast", "Took 1.0 s"):  # fmt: skip
        assert words in said, words
    assert "refresh" not in [one.get("http-equiv") for one in Elements(page.text).named("meta")]
    links = Elements(page.text).addresses
    for name in FILES:
        assert f"/v1/jobs/{queued}/files/{name}" in links
    assert f"/v1/jobs/{queued}/download" in links
    file = client.get(f"/v1/jobs/{queued}/files").json()["data"][0]
    assert file["sha256"] in said


def test_files_that_are_gone_cost_the_page_no_more(
    client: TestClient, settings: GatewaySettings, finished: str
) -> None:
    for manifest in settings.data_dir.rglob("manifest.json"):
        manifest.unlink()
    page = client.get(f"/ui/jobs/{finished}")
    assert page.status_code == 200
    said = words_of(page)
    assert "90.00" in said, "the row still knows"
    assert "cannot be found" in said


def test_why_one_failed_and_what_to_do(client: TestClient, state: GatewayState, queued: str) -> None:
    lease = claim(state).lease
    for stage in ("resolving", "recovering"):
        state.store.record(lease, say(EventType.STAGE, "…", stage=stage))
    error = {"code": "out_of_memory", "message": "80 GiB were not enough", "param": "/recovery/batch_size",
             "stage": "recovering", "retryable": False}  # fmt: skip
    state.store.finish(lease, say(EventType.FAILED, "…", error=error))
    page = client.get(f"/ui/jobs/{queued}")
    said = words_of(page)
    for words in ("The device ran out of memory", "80 GiB were not enough", "While recovering", "/recovery/batch_size",
                  "What to do: Ask for a smaller recovery.batch_size"):  # fmt: skip
        assert words in said, words
    stages = stages_of(page)
    assert (stages["resolving"], stages["recovering"], stages["exporting"]) == ("done", "failed", "ahead")


def test_an_error_that_another_version_knows(client: TestClient, state: GatewayState, queued: str) -> None:
    error = {"code": "of_tomorrow", "message": "what nobody knows yet"}
    state.store.finish(claim(state).lease, say(EventType.FAILED, "…", error=error))
    assert "what nobody knows yet" in words_of(client.get(f"/ui/jobs/{queued}"))


def test_it_can_be_repeated(client: TestClient, body: dict[str, Any]) -> None:
    asked = {**body, "metadata": {"it's": "$(reboot) `x` \\"}}
    job_id = client.post("/v1/jobs", json=asked).json()["id"]
    page = client.get(f"/ui/jobs/{job_id}")
    text = Elements(page.text)
    assert text.named("pre")
    command = _pre(page.text, "repeat-curl")
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:3] == ["curl", "-s", "http://testserver/v1/jobs"]
    assert json.loads(words[words.index("-d") + 1]) == asked
    assert json.loads(_pre(page.text, "repeat-file")) == asked
    file = client.get(f"/ui/jobs/{job_id}/job.json")
    assert file.json() == asked
    assert file.headers["Content-Disposition"] == f'attachment; filename="{job_id}.json"'
    assert client.post("/v1/jobs", json=file.json()).status_code == 202


def _pre(text: str, name: str) -> str:
    start = text.index("<code>", text.index(f'<pre id="{name}"')) + len("<code>")
    return unescape(text[start : text.index("</code>", start)])


def test_a_log_is_text(client: TestClient, state: GatewayState, queued: str) -> None:
    lease = claim(state).lease
    state.store.write_log(lease, f"{HOSTILE}\nlast line\n", 0, 2**20)
    page = client.get(f"/ui/jobs/{queued}")
    assert HOSTILE not in page.text
    assert f"{HOSTILE} last line" in words_of(page)


def test_a_long_log_shows_its_end(client: TestClient, state: GatewayState, queued: str) -> None:
    lease = claim(state).lease
    end = 0
    for number in range(40):
        end = state.store.write_log(lease, f"line {number} {'x' * 1000}\n", end, 2**20)
    said = words_of(client.get(f"/ui/jobs/{queued}"))
    assert "line 39" in said
    assert "line 1 x" not in said
    assert "Its end:" in said


def test_cancel_retry_and_delete_without_a_script(client: TestClient, queued: str) -> None:
    def asked(action: str, words: str) -> str:
        page = client.get(f"/ui/jobs/{queued}/{action}")
        assert words in words_of(page)
        answer = client.post(f"/ui/jobs/{queued}/{action}", data={"csrf": token_of(page)}, follow_redirects=False)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["Location"])

    assert asked("cancel", "Cancel this job?") == f"/ui/jobs/{queued}"
    assert client.get(f"/v1/jobs/{queued}").json()["status"] == "cancelled"
    assert asked("retry", "Retry this job?") == f"/ui/jobs/{queued}"
    assert client.get(f"/v1/jobs/{queued}").json()["status"] == "queued"
    refused = send(client, f"/ui/jobs/{queued}/delete")
    assert refused.status_code == 409
    assert "The job has not ended" in words_of(refused)
    asked("cancel", "Cancel this job?")
    assert asked("delete", "do not come back") == "/"
    assert client.get(f"/ui/jobs/{queued}").status_code == 404


def test_what_cannot_be_done_is_not_offered(client: TestClient, queued: str, state: GatewayState) -> None:
    def offered() -> set[str]:
        links = Elements(client.get(f"/ui/jobs/{queued}").text).addresses
        return {link.rpartition("/")[2] for link in links} & {"cancel", "retry", "delete"}

    assert offered() == {"cancel"}
    claim(state)
    assert offered() == {"cancel"}
    client.post(f"/v1/jobs/{queued}/cancel")
    assert offered() == set()


def test_an_unknown_action_is_no_page(client: TestClient, queued: str) -> None:
    assert client.get(f"/ui/jobs/{queued}/explode").status_code == 404
    assert send(client, f"/ui/jobs/{queued}/explode").status_code == 404


def test_the_next_job_is_led_back_to_the_first(state: GatewayState, finished: str) -> None:
    job = state.store.get(finished).model_copy(update={"model": f"job:{finished}"})
    assert [(one.id, one.path) for one in parents_of(job)] == [(finished, f"/ui/jobs/{finished}")]
