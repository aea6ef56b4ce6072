"""`/ui/studies`: asked for, counted before, shown with figures and table, gone on with, and nobody else's."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.studies.shown import CellState, ShownInterval, Spread, StudyCell, StudyRow
from api_schemas.tenants import Scope
from service.app import create_app
from service.pages.views.studies import MOST_DRAWN, Asked, drawn_rows
from service.pages.views.study_rows import sorted_rows, study_row
from service.settings import GatewaySettings
from service.state import GatewayState
from tests.support.access import bearer, key_of
from tests.support.gateway_worker import claim, succeed
from tests.support.pages import Elements, log_in, send, token_of, words_of

PART = {"HX-Request": "true"}


@pytest.fixture
def grid(make_model: Callable[..., Path]) -> dict[str, Any]:
    return {"models": [str(make_model())], "tasks": ["none"], "strategies": ["top", "bottom"], "drops": [2, 4]}


@pytest.fixture
def study(client: TestClient, grid: dict[str, Any]) -> str:
    found: str = client.post("/v1/studies", json={**grid, "name": "<b>where</b> to cut"}).json()["id"]
    return found


def fields(grid: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"models": grid["models"][0], "tasks": "none", "strategies": ["top", "bottom"], "drops": "2, 4", **more}


def test_a_form_is_counted_before_it_is_sent(client: TestClient, grid: dict[str, Any]) -> None:
    said = words_of(send(client, "/ui/studies/new/preview", **fields(grid, seeds="1, 2")))
    assert "8 cells" in said
    said = words_of(send(client, "/ui/studies/new", **fields(grid, drops="2, 9", impossible="skip", act="plan")))
    assert "2 cells cannot be" in said
    assert client.get("/v1/studies").json()["data"] == []


def test_a_form_becomes_a_study(client: TestClient, grid: dict[str, Any]) -> None:
    answer = send(client, "/ui/studies/new", **fields(grid, name="mine", jobs="3", stop_early="yes"))
    assert answer.status_code == 303
    page = client.get(answer.headers["Location"])
    assert "mine" in words_of(page)
    made = client.get("/v1/studies").json()["data"][0]
    asked = client.get(f"/v1/studies/{made['id']}").json()["request"]
    assert (asked["budget"], asked["stop_early"], asked["drops"]) == ({"jobs": 3}, True, [2, 4])


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"drops": "9"}, "drops"),
        ({"drops": "two"}, "drops"),
        ({"drops": "2, 2"}, "drops"),
        ({"drops": ""}, "drops"),
        ({"models": "/nowhere"}, "models"),
        ({"models": ""}, "models"),
        ({"tasks": "sst9"}, "tasks"),
        ({"strategies": "topp"}, "strategies"),
        ({"seeds": "-1"}, "seeds"),
        ({"minutes": "-1"}, "minutes"),
        ({"rest": "{"}, "rest"),
        ({"seeds": ", ".join(map(str, range(200))), "drops": ", ".join(map(str, range(1, 100)))}, "seeds"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(
    client: TestClient, grid: dict[str, Any], changed: dict[str, str], field: str
) -> None:
    page = send(client, "/ui/studies/new", **fields(grid, **changed))
    assert 400 <= page.status_code < 500
    found = re.search(rf'id="wrong-{field}"[^>]*>([^<]+)<', page.text)
    assert found, words_of(page)
    assert client.get("/v1/studies").json()["data"] == []


def test_a_study_is_shown_with_its_table_and_figures(
    client: TestClient, state: GatewayState, study: str, tmp_path: Path
) -> None:
    job_id = client.get("/v1/jobs", params={"study": study, "limit": 1}).json()["data"][0]["id"]
    for number in range(4):
        succeed(state, claim(state), tmp_path / f"scratch{number}")
    page = client.get(f"/ui/studies/{study}")
    said = words_of(page)
    assert "<b>where</b>" not in page.text
    for words in ("4 cells", "4 succeeded", "90.00", "front", "Finished"):
        assert words in said
    assert f"/ui/jobs/{job_id}" in Elements(page.text).addresses
    svgs = [one for tag, one in Elements(page.text).found if tag == "svg" and "fig" in (one.get("class") or "")]
    assert len(svgs) == 2
    assert not re.search(r'<svg[^>]*class="[^"]*fig[^>]*style=', page.text)
    assert re.search(rf'<a[^>]*href="/ui/jobs/{job_id}"[^>]*>', page.text[page.text.index("figure-score") :])
    part = client.get(f"/ui/studies/{study}", params={"part": "progress"}, headers=PART)
    assert part.text.lstrip().startswith('<section id="progress"')
    picked = words_of(client.get(f"/ui/studies/{study}", params={"min_retention": "0.5"}))
    assert "Download" in picked
    for sort in ("-score", "row", "size"):
        assert 'aria-sort="' in client.get(f"/ui/studies/{study}", params={"sort": sort}).text
    assert client.get(f"/ui/studies/{study}?sort=colour").status_code == 422
    assert client.get(f"/ui/studies/{study}?min_retention=x").status_code == 422


def test_a_study_is_cancelled_resumed_added_to_and_deleted(
    client: TestClient, study: str, grid: dict[str, Any]
) -> None:
    path = f"/ui/studies/{study}"
    assert send(client, f"{path}/cancel").status_code == 303
    assert "Cancelled" in words_of(client.get(path))
    assert send(client, f"{path}/resume", jobs="-1").status_code == 422
    assert send(client, f"{path}/resume", jobs="9").status_code == 303
    assert client.get(f"/v1/studies/{study}").json()["budget"]["jobs"] == 9
    assert 'value="2, 4"' in client.get(f"{path}/cells").text
    assert send(client, f"{path}/cells", **fields(grid, drops="2, 3")).status_code == 303
    assert client.get(f"/v1/studies/{study}").json()["progress"]["cells"] == 6
    assert send(client, f"{path}/delete").status_code == 409
    send(client, f"{path}/cancel")
    assert send(client, f"{path}/delete", with_jobs="yes").headers["Location"] == "/ui/studies"
    assert client.get(path).status_code == 404


def test_others_see_nothing_and_readers_no_forms(settings: GatewaySettings, grid: dict[str, Any]) -> None:
    with TestClient(create_app(settings.model_copy(update={"auth": "on"}))) as client:
        state: GatewayState = client.app.state.gateway  # type: ignore[attr-defined]
        own = bearer(key_of(state, "team-a", Scope.SUBMIT))
        study = client.post("/v1/studies", json=grid, headers=own).json()["id"]
        page = log_in(client, key_of(state, "team-a", Scope.READ))
        for path in ("/ui/new", "/ui/uploads", "/ui/studies", "/ui/studies/new", f"/ui/studies/{study}"):
            shown = client.get(path)
            assert shown.status_code == 200
            forms = [one for one in Elements(shown.text).named("form") if one.get("method") == "post"]
            assert [one["action"] for one in forms] == ["/ui/logout"], path
        send(client, "/ui/logout", page)
        page = log_in(client, key_of(state, "team-b", Scope.SUBMIT))
        assert study not in client.get("/ui/studies").text
        assert client.get(f"/ui/studies/{study}").status_code == 404
        assert client.get(f"/ui/studies/new?from={study}").status_code == 404
        for act in ("cancel", "resume", "delete", "cells"):
            answer = client.post(f"/ui/studies/{study}/{act}", data={"csrf": token_of(page)})
            assert answer.status_code == 404


def row(number: int, **more: Any) -> StudyRow:
    cell = StudyCell(number=number, seed=1, state=CellState.SUCCEEDED, job_id=f"job_{number}")
    asked = {"model": "m", "task": "sst2", "strategy": "top", "drop": 2, "recovery": "distill", "effort": "auto"}
    return StudyRow(**{**asked, "cells": [cell], **more})


def test_no_more_points_are_drawn_than_can_be_told_apart() -> None:
    rows = [row(at, score_after=Spread(mean=at / 30, count=1), front=at == 0) for at in range(1000)]
    drawn = drawn_rows(rows, Asked())
    assert len(drawn.rows) == MOST_DRAWN
    assert drawn.rows[0].front
    assert f"{MOST_DRAWN} of 1000 points" in drawn.note
    many = [row(at, task=f"task{at}") for at in range(30)]
    assert (drawn_rows(many, Asked()).task, len(drawn_rows(many, Asked()).rows)) == ("task0", 1)


def test_rows_without_a_value_come_last() -> None:
    rows = [row(0), row(1, bytes_after=5), row(2, bytes_after=9)]
    assert [one.cells[0].number for one in sorted_rows(rows, "size")] == [1, 2, 0]
    assert [one.cells[0].number for one in sorted_rows(rows, "-size")] == [2, 1, 0]


def test_an_interval_of_everything_says_that_it_tells_nothing() -> None:
    told, wide = (ShownInterval(low=low, high=2 - low, confidence=0.95) for low in (0.97, -2.6))
    assert study_row(row(0, retention_interval=told)).interval == "97.0 to 103.0 %"
    assert study_row(row(0, retention_interval=wide)).interval == "too few rows to tell"
    two = row(0, retention_interval=wide)
    assert study_row(two.model_copy(update={"cells": two.cells * 2})).interval == "too few seeds to tell: 2"
