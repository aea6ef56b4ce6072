"""Figures over HTTP: of jobs at every age, by theme and form, once drawn kept, and never in anybody's way."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from fastapi.testclient import TestClient
from httpx import Response

import figures.library
from api_schemas.errors import LayercutError
from api_schemas.events import EventType
from api_schemas.studies.shown import CellState, Spread, StudyCell, StudyRow
from service.drawing_room import DrawingRoom
from service.figures import study_figure
from service.state import GatewayState
from tests.support.events import say
from tests.support.gateway_worker import claim, succeed
from tests.support.reports import report

PNG = b"\x89PNG\r\n\x1a\n"


def listed(client: TestClient, job_id: str) -> dict[str, dict[str, Any]]:
    answer = client.get(f"/v1/jobs/{job_id}/figures").json()
    assert answer["object"] == "list"
    return {row["name"]: row for row in answer["data"]}


def problem(answer: Response) -> tuple[int, str, str]:
    body = answer.json()
    return answer.status_code, body["code"], body["detail"]


def told_losses(state: GatewayState, job_id: str, losses: list[float]) -> Any:
    taken = claim(state)
    assert taken.lease.job_id == job_id
    state.store.record(taken.lease, say(EventType.STAGE, "recovering", stage="recovering"))
    for at, loss in enumerate(losses):
        progress = say(EventType.PROGRESS, "on", fraction=0.1, step=at + 1, total_steps=9, epoch=0.1, loss=loss)
        state.store.record(taken.lease, progress)
    return taken


def test_a_finished_job_has_figures_with_words_and_addresses(client: TestClient, finished: str) -> None:
    found = listed(client, finished)
    assert list(found) == ["layers", "before_and_after", "curves", "search"]
    assert found["layers"]["alt"].startswith("Layers 6, 7, 8 and 9 go")
    assert "81.1 M after" in found["before_and_after"]["alt"]
    for name in ("layers", "before_and_after"):
        assert client.get(found[name]["svg"]).text.startswith("<?xml")
        assert client.get(found[name]["png"]).content.startswith(PNG)
    assert found["curves"] == {
        "name": "curves", "title": None, "alt": None, "svg": None, "png": None, "missing": found["curves"]["missing"],
    }  # fmt: skip
    assert "no training has told a loss" in found["curves"]["missing"]
    assert "only the strategy `auto`" in found["search"]["missing"]
    assert client.get(f"/v1/jobs/{finished}").json()["urls"]["figures"] == f"/v1/jobs/{finished}/figures"


def test_what_a_figure_lacks_is_said(client: TestClient, body: dict[str, Any]) -> None:
    job_id = client.post("/v1/jobs", json=body).json()["id"]
    at = f"/v1/jobs/{job_id}/figures"
    status, code, detail = problem(client.get(f"{at}/before_and_after.svg"))
    assert (status, code) == (404, "figure_unavailable")
    assert "the job is queued and does not yet have a result" in detail
    assert problem(client.get(f"{at}/pie.png")) == (
        404, "figure_unavailable", "there is no figure 'pie'; there are layers, before_and_after, curves, search",
    )  # fmt: skip
    assert problem(client.get("/v1/jobs/job_000000000000000000000000/figures"))[:2] == (404, "job_not_found")
    assert problem(client.get("/v1/studies/stu_0/figures/pareto.svg"))[:2] == (404, "study_not_found")
    assert client.get(f"{at}/layers.svg?theme=blue").status_code == 422
    assert client.get(f"{at}/layers.png?scale=40").status_code == 422


def test_the_strip_is_there_before_the_job_has_begun(client: TestClient, body: dict[str, Any]) -> None:
    job_id = client.post("/v1/jobs", json=body).json()["id"]
    text = client.get(f"/v1/jobs/{job_id}/figures/layers.svg").text
    assert "Layers 4 and 5 go" in text


def test_curves_grow_with_the_events(client: TestClient, state: GatewayState, body: dict[str, Any]) -> None:
    job_id = client.post("/v1/jobs", json=body).json()["id"]
    taken = told_losses(state, job_id, [0.9, 0.8])
    first = client.get(f"/v1/jobs/{job_id}/figures/curves.svg")
    assert "from 0.9 at step 1 to 0.8 at step 2" in first.text
    more = say(EventType.PROGRESS, "on", fraction=0.2, step=3, total_steps=9, epoch=0.2, loss=0.5)
    state.store.record(taken.lease, more)
    second = client.get(f"/v1/jobs/{job_id}/figures/curves.svg", headers={"If-None-Match": first.headers["etag"]})
    assert (second.status_code, "to 0.5 at step 3" in second.text) == (200, True)


def test_it_is_kept_by_its_bytes(client: TestClient, finished: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at = f"/v1/jobs/{finished}/figures/layers.svg?theme=dark"
    first = client.get(at)
    assert first.headers["content-type"].startswith("image/svg+xml")
    assert first.headers["cache-control"] == "private, no-cache"
    assert first.headers["x-content-type-options"] == "nosniff"
    assert first.headers["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inline'")
    monkeypatch.setattr(figures.library, "load", pytest.fail)  # nothing is drawn again
    assert client.get(at).content == first.content
    again = client.get(at, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = client.head(at)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(first.content)))


@pytest.mark.parametrize(("theme", "colour"), [("light", "#ffffff"), ("dark", "#14171c")])
def test_themes(client: TestClient, finished: str, theme: str, colour: str) -> None:
    text = client.get(f"/v1/jobs/{finished}/figures/before_and_after.svg?theme={theme}").text
    assert ElementTree.fromstring(text).find(".//{*}path").get("fill") == colour  # type: ignore[union-attr]
    assert "<style" not in text


def test_a_picture_is_as_large_as_is_asked(client: TestClient, finished: str) -> None:
    widths = []
    for scale in (1, 4):
        content = client.get(f"/v1/jobs/{finished}/figures/layers.png?theme=dark&scale={scale}").content
        widths.append(int.from_bytes(content[16:20], "big"))
    assert widths == [720, 2880]


def test_without_the_library_all_else_is_served(
    client: TestClient, finished: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(figures.library.importlib, "import_module", absent)
    status, code, detail = problem(client.get(f"/v1/jobs/{finished}/figures/layers.png?scale=3"))
    assert (status, code) == (501, "figures_not_installed")
    assert "pip install 'layercut[figures]'" in detail
    assert client.get(f"/v1/jobs/{finished}/report").status_code == 200


def test_a_report_of_strangers_is_text(
    client: TestClient, state: GatewayState, body: dict[str, Any], tmp_path: Path
) -> None:
    job_id = client.post("/v1/jobs", json=body).json()["id"]
    odd = "<script>alert(1)</script>$\\frac{1}{0}$" * 9
    changed = report()
    changed = changed.model_copy(update={"model": changed.model.model_copy(update={"id": odd})})
    written = json.dumps(changed.model_dump(mode="json")).encode()
    succeed(state, claim(state), tmp_path / "scratch", **{"report.json": written})
    root = ElementTree.fromstring(client.get(f"/v1/jobs/{job_id}/figures/before_and_after.svg").content)
    assert not list(root.iter("{*}script"))
    assert client.get(f"/v1/jobs/{job_id}/figures/before_and_after.png").content.startswith(PNG)


def test_points_of_a_study_lead_to_their_jobs() -> None:
    cell = StudyCell(number=0, seed=1, state=CellState.SUCCEEDED, job_id="job_7")
    row = StudyRow(
        model="m", task="rte", strategy="top", drop=2, recovery="finetune", effort="auto", cells=[cell],
        layers_total=6, layers_kept=4, score_after=Spread(mean=60.0, count=1),
    )  # fmt: skip
    figure = study_figure([row], "stu_1", "score_by_layers", model=None, task=None, base="/v1/jobs")
    assert 'href="/v1/jobs/job_7"' in figure.drawing.svg()
    with pytest.raises(LayercutError, match="no cell of it has both"):
        study_figure([row], "stu_1", "pareto", model=None, task=None, base="/v1/jobs")
    with pytest.raises(LayercutError, match="there are score_by_layers, pareto"):
        study_figure([row], "stu_1", "pie", model=None, task=None, base="/v1/jobs")


def test_more_than_may_wait_are_refused_and_one_tenant_leaves_room() -> None:
    async def run() -> None:
        room, go = DrawingRoom(waiting=3, waiting_of_one=2), threading.Event()

        def make() -> bytes:
            assert go.wait(30)
            return b"drawn"

        first = asyncio.ensure_future(room.draw("a", 1, make))
        same = asyncio.ensure_future(room.draw("b", 1, pytest.fail))  # which is under way already
        second = asyncio.ensure_future(room.draw("a", 2, make))
        await asyncio.sleep(0)
        for tenant, refused in (("a", True), ("b", False), ("c", True)):
            waiting = asyncio.ensure_future(room.draw(tenant, tenant, make))
            await asyncio.sleep(0)
            assert waiting.done() == refused
            if refused:
                with pytest.raises(LayercutError, match="too many figures wait"):
                    waiting.result()
        first.cancel()  # whoever leaves takes nothing from others
        go.set()
        assert (await same).content == (await second).content == b"drawn"
        assert (await room.draw("c", 2, pytest.fail)).content == b"drawn"
        room.close()

    asyncio.run(run())
