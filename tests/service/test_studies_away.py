"""A study whose model is away for a moment, or for good; and one of which is not known yet whether it was done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from api_schemas.studies.request import Budget, ResumeStudy
from service.settings import GatewaySettings
from service.state import GatewayState
from service.studies import feeding
from service.studies.admitting import Admitter
from service.studies.kept_admitters import LOOK_SECONDS, UNSURE_SECONDS, KeptAdmitters
from store.study_tables import studies
from tests.support.study_samples import ACTOR


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    """The tests feed the queue."""
    return settings.model_copy(update={"study_seconds": 3600.0})


@dataclass
class Study:
    """Of two models, ``here`` and ``other``; two cells of each, one of which is queued by the POST."""

    client: TestClient
    state: GatewayState
    clock: list[float]
    here: Path
    other: Path
    id: str

    def take_away(self) -> Path:
        return self.other.rename(self.other.with_name("away"))

    def put_back(self) -> None:
        self.other.with_name("away").rename(self.other)

    def resume(self, **asked: Any) -> None:
        self.state.studies.of(ACTOR).resume(self.id, ResumeStudy(budget=Budget(), **asked))

    def feed(self, *, after: float = 0.0) -> dict[str, Counter[str]]:
        """States of the cells, by the model's name, once a round was fed ``after`` so many seconds."""
        self.clock[0] += after
        feeding.feed_studies(self.state)
        shown = self.client.get(f"/v1/studies/{self.id}").json()
        found: dict[str, Counter[str]] = {}
        for row in shown["table"]:
            name = Path(row["model"]).name
            found.setdefault(name, Counter()).update(cell["state"] for cell in row["cells"])
        return found


@pytest.fixture
def study(client: TestClient, state: GatewayState, make_model: Callable[..., Path]) -> Iterator[Study]:
    clock, here, other = [0.0], make_model("here"), make_model("other", layers=5)
    body = {
        "models": [str(here), str(other)], "tasks": ["none"], "strategies": ["top", "bottom"], "drops": [2],
        "budget": {"jobs": 1},
    }  # fmt: skip
    answer = client.post("/v1/studies", json=body)
    assert answer.status_code == 202, answer.text
    with_clock = replace(state, admitters=KeptAdmitters(lambda: clock[0]))
    yield Study(client, with_clock, clock, here, other, answer.json()["id"])
    with_clock.admitters.forget_others(set())


def test_one_model_that_is_away_keeps_no_other_back_and_is_fed_once_it_is_back(study: Study) -> None:
    study.take_away()
    study.resume()
    assert study.feed() == {"here": {"queued": 2}, "other": {"waiting": 2}}
    assert study.feed(after=LOOK_SECONDS) == {"here": {"queued": 2}, "other": {"waiting": 2}}
    study.put_back()
    assert study.feed(after=1) == {"here": {"queued": 2}, "other": {"queued": 2}}


def test_one_that_stays_away_is_given_up_after_three_looks_a_minute_apart(study: Study) -> None:
    study.take_away()
    study.resume()
    assert {str(study.feed(after=1)["other"]) for _ in range(5)} == {str(Counter(waiting=2))}, "they count as one look"
    assert study.feed(after=LOOK_SECONDS)["other"] == {"waiting": 2}
    assert study.feed(after=LOOK_SECONDS)["other"] == {"impossible": 2}
    cells = study.client.get(f"/v1/studies/{study.id}").json()["table"][-1]["cells"]
    assert "other" in cells[0]["reason"]

    study.put_back()
    study.resume(retry_failed=True)
    assert study.feed()["other"] == {"queued": 2}, "whoever put it back may have them tried again"


def test_what_may_have_been_done_waits_for_its_hashes_and_not_for_ever(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "Admitter", lambda state, actor, _: Admitter(state, actor, hash_seconds=-1.0))
    (study.other / "config.json").touch()
    study.resume()
    assert study.feed()["other"] == {"waiting": 2}
    assert study.feed(after=UNSURE_SECONDS - 1)["other"] == {"waiting": 2}
    assert study.feed(after=2)["other"] == {"queued": 2}


def test_cells_that_are_added_take_each_model_as_it_was_pinned_at_first(study: Study) -> None:
    """As of a branch of a hub that has moved since."""
    with study.state.engine.begin() as connection:
        (grids,) = connection.execute(select(studies.c.grids)).one()
        pinned = [{"id": str(study.other)}, *grids[0]["pinned"][1:]]
        connection.execute(update(studies).values(grids=[{**grids[0], "pinned": pinned}]))
    more = {"models": [str(study.here)], "tasks": ["none"], "strategies": ["symmetric"], "drops": [2]}
    answer = study.client.post(f"/v1/studies/{study.id}/cells", json=more)
    assert answer.status_code == 202, answer.text
    with study.state.engine.begin() as connection:
        (grids,) = connection.execute(select(studies.c.grids)).one()
    assert [model["id"] for model in grids[1]["pinned"]] == [str(study.other)]
