"""Early stopping: what the search of a size finds to be out is not run in full."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.objectives import Objective
from api_schemas.reports import Bracket, Candidate, Search, Trial
from service.settings import GatewaySettings
from service.state import GatewayState
from service.studies.early import out_of
from service.studies.feeding import feed_studies
from store.study_feeding import Held
from tests.support.gateway_worker import claim, succeed
from tests.support.reports import report
from tests.support.store_samples import FAILED


def trials(*distances: float | None) -> list[Trial]:
    return [Trial(steps=20 * at, distance=distance, score=50.0) for at, distance in enumerate(distances)]


BRACKET = Bracket(
    drop=2,
    rows=100,
    baseline_score=90.0,
    candidates=[
        Candidate(dropped=[4, 5], strategies=["top"], trials=trials(0.9, 0.3, 0.12)),
        Candidate(dropped=[2, 3], strategies=["symmetric"], trials=trials(0.9, 0.4, 0.2)),
        Candidate(dropped=[0, 1], strategies=["bottom"], trials=trials(1.1, 0.61)),
    ],
    steps=100,
)
SEARCH = Search(
    objective=Objective(max_params=1), chosen=2, met=None, curve=[], front=[], brackets=[BRACKET], steps=100,
    spent_steps=100,
)  # fmt: skip


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    return settings.model_copy(update={"study_seconds": 3600.0})


@pytest.fixture
def body(make_model: Callable[..., Path], tmp_path: Path) -> dict[str, Any]:
    table = tmp_path / "tables" / "moods.csv"
    table.write_text("text,mood\n" + "".join(f"text {at},{'kind' if at % 2 else 'unkind'}\n" for at in range(40)))
    return {
        "models": [str(make_model())],
        "tasks": [{"dataset": str(table), "text_columns": "text", "label_column": "mood"}],
        "strategies": ["top", "bottom", "symmetric"],
        "drops": [2],
        "stop_early": True,
    }


def by_strategy(client: TestClient, study_id: str) -> dict[str, dict[str, Any]]:
    table = client.get(f"/v1/studies/{study_id}").json()["table"]
    return {row["strategy"]: row["cells"][0] for row in table}


def test_what_is_out_in_its_bracket_is_not_run(
    client: TestClient, state: GatewayState, body: dict[str, Any], tmp_path: Path
) -> None:
    study = client.post("/v1/studies", json=body).json()["id"]
    assert {name: cell["state"] for name, cell in by_strategy(client, study).items()} == {
        "auto": "queued", "top": "waiting", "bottom": "waiting", "symmetric": "waiting",
    }  # fmt: skip
    pilot = claim(state)
    found = report(search=SEARCH).model_dump(mode="json")
    succeed(state, pilot, tmp_path / "scratch", **{"report.json": json.dumps(found).encode()})
    feed_studies(state)
    cells = by_strategy(client, study)
    assert {name: cell["state"] for name, cell in cells.items()} == {
        "auto": "succeeded", "top": "queued", "bottom": "stopped", "symmetric": "queued",
    }  # fmt: skip
    assert cells["bottom"]["reason"] == (
        "in the bracket of 2 layers its answers were 0.61 from the full model's after 20 steps, the best's 0.3: it was"
        " out"
    )


def test_a_search_that_failed_decides_nothing(client: TestClient, state: GatewayState, body: dict[str, Any]) -> None:
    study = client.post("/v1/studies", json=body).json()["id"]
    state.store.finish(claim(state).lease, FAILED)
    feed_studies(state)
    states = {name: cell["state"] for name, cell in by_strategy(client, study).items()}
    assert states == {"auto": "failed", "top": "queued", "bottom": "queued", "symmetric": "queued"}


def test_an_auto_that_was_asked_for_is_the_search(client: TestClient, body: dict[str, Any]) -> None:
    study = client.post("/v1/studies", json={**body, "strategies": ["top", "auto", "bottom"]}).json()
    assert study["progress"]["cells"] == 3
    assert {name: cell["state"] for name, cell in by_strategy(client, study["id"]).items()} == {
        "auto": "queued", "top": "waiting", "bottom": "waiting",
    }  # fmt: skip


def test_one_strategy_competes_with_nobody(client: TestClient, body: dict[str, Any]) -> None:
    study = client.post("/v1/studies", json={**body, "strategies": ["top"]}).json()
    assert {name: cell["state"] for name, cell in by_strategy(client, study["id"]).items()} == {"top": "queued"}


def test_layers_count_before_the_strategy_s_name() -> None:
    held = [Held(1, "contribution", [1, 0]), Held(2, "contribution", [3, 2]), Held(3, "taylor", None)]
    assert list(out_of(SEARCH, held)) == [1]


def test_what_diverged_is_told_as_such() -> None:
    lost = BRACKET.candidates[2].model_copy(update={"trials": trials(1.1, None)})
    bracket = BRACKET.model_copy(update={"candidates": [*BRACKET.candidates[:2], lost]})
    out = out_of(SEARCH.model_copy(update={"brackets": [bracket]}), [Held(7, "bottom", [0, 1])])
    assert "diverged" in out[7]


def test_a_preview_counts_baselines(client: TestClient, body: dict[str, Any]) -> None:
    asked = {**body, "stop_early": False, "seeds": [1, 2], "strategies": ["top", "bottom"]}
    preview = client.post("/v1/studies?validate_only=true", json=asked).json()
    assert (preview["cells"], preview["baselines"]) == (4, 2)
    assert preview["minutes"] > 0
