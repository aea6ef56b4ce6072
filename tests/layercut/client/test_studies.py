"""Studies, asked of a real gateway; the test is the worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api_schemas.studies.request import StudyRequest
from api_schemas.studies.shown import CellState, Study, StudyStatus
from layercut.client import Client, InvalidAnswer, LayercutApiError, StudyTimeout
from layercut.client.retries import Patience
from layercut.client.studies import LONGEST_SECONDS
from tests.support.cut_proxy import CutProxy
from tests.support.gateway_worker import claim, succeed
from tests.support.live_gateway import LiveGateway
from tests.support.played_service import Heard, Said, played_service, said_json
from tests.support.studies import cell, row, study


def grid(gateway: LiveGateway, **more: Any) -> dict[str, Any]:
    """Of two jobs that train nothing, which come before all others."""
    alike = {"priority": 100, "metadata": more.pop("metadata", {})}
    return {"models": [str(gateway.model)], "tasks": ["none"], "drops": [1, 2], "job": alike, **more}


def work(gateway: LiveGateway, folder: Path, count: int) -> list[str]:
    """So many of the jobs that wait, done."""
    done = []
    for number in range(count):
        taken = claim(gateway.state)
        succeed(gateway.state, taken, folder / f"{taken.lease.job_id}-{number}")
        done.append(taken.lease.job_id)
    return done


def test_a_study_is_asked_for_as_a_model_a_mapping_or_fields(client: Client, gateway: LiveGateway) -> None:
    body = grid(gateway, seeds=[1, 2])
    made = [
        client.create_study(StudyRequest.model_validate(body), name="one"),
        client.create_study(body),
        client.create_study(**body),
    ]
    assert len({one.id for one in made}) == 3
    assert all(isinstance(one, Study) and one.progress.cells == 4 for one in made)
    assert client.study(made[0].id).name == "one"
    assert [one.id for one in client.studies(limit=3)] == [one.id for one in made[::-1]]
    for one in made:
        assert client.cancel_study(one.id).status is StudyStatus.CANCELLED


def test_what_it_would_be_is_no_study(client: Client, gateway: LiveGateway) -> None:
    before = [one.id for one in client.studies()]
    preview = client.validate_study(grid(gateway, drops=[1, 2, 8]), impossible="skip")
    assert (preview.cells, preview.impossible_count) == (3, 1)
    assert "6 layers" in preview.impossible[0].reason
    with pytest.raises(LayercutApiError) as refused:
        client.create_study(grid(gateway, drops=[1, 2, 8]))
    assert refused.value.code == "cells_impossible"
    assert [one.id for one in client.studies()] == before


def test_a_study_whose_answer_is_lost_is_one(far: Client, proxy: CutProxy, gateway: LiveGateway) -> None:
    assert far.limits()
    before = len(list(far.studies()))
    proxy.cut_after(10, 60)
    proxy.cut()
    made = far.create_study(grid(gateway))
    assert len(list(far.studies())) == before + 1
    far.cancel_study(made.id)


def test_it_is_waited_for_and_then_its_table_is_there(client: Client, gateway: LiveGateway, tmp_path: Path) -> None:
    made = client.create_study(grid(gateway, name="waited for"), idempotency_key="nightly-study")
    assert client.create_study(grid(gateway, name="waited for"), idempotency_key="nightly-study").id == made.id
    with pytest.raises(StudyTimeout, match="is running after") as late:
        client.wait_study(made.id, timeout=0.1)
    assert late.value.study.progress.by_state
    seen: list[Study] = []
    jobs: list[str] = []

    def moved(found: Study) -> None:
        seen.append(found)
        if len(jobs) < 2:
            jobs.extend(work(gateway, tmp_path, 1))

    ended = client.wait_study(made.id, on_change=moved)
    assert ended.status is StudyStatus.FINISHED
    assert ended.progress.by_state == {CellState.SUCCEEDED: 2}
    assert len(seen) >= 3
    assert {one.job_id for found in ended.table for one in found.cells} == set(jobs)
    assert client.study_table(made.id).count("\n") >= 3
    assert client.study_table(made.id, "markdown").count("|") > 10
    with pytest.raises(ValueError, match="csv or markdown"):
        client.study_table(made.id, "pdf")
    (picked,) = client.pick(made.id, 0.5, sure=True).data
    assert picked.reason
    client.delete_study(made.id)
    with pytest.raises(LayercutApiError, match="study_not_found"):
        client.study(made.id)


def test_cells_are_added_and_a_cancelled_study_goes_on(client: Client, gateway: LiveGateway) -> None:
    made = client.create_study(grid(gateway, drops=[1], metadata={"of": "adding"}))
    lists = {"models": [str(gateway.model)], "tasks": ["none"]}
    assert client.add_cells(made.id, lists, drops=[1, 2, 3]).progress.cells == 3
    assert client.cancel_study(made.id).status is StudyStatus.CANCELLED
    on = client.resume_study(made.id, budget={"jobs": 100}, retry_failed=True)
    assert on.status is StudyStatus.RUNNING
    assert on.budget.jobs == 100
    client.cancel_study(made.id)
    client.delete_study(made.id, jobs=True)
    assert list(client.list(metadata={"of": "adding"})) == []


def test_a_figure_that_is_not_there_is_refused(client: Client, gateway: LiveGateway) -> None:
    job = client.submit(gateway.body())
    for ask in (lambda: client.job_figure(job.id, "nothing"), lambda: client.study_figure("study_0", "nothing")):
        with pytest.raises(LayercutApiError) as refused:
            ask()
        assert refused.value.status == 404
    with pytest.raises(ValueError, match="svg or png, not 'gif'"):
        client.job_figure(job.id, "layers", format="gif")
    with pytest.raises(ValueError, match="name is missing"):
        client.job_figure(job.id, "")
    client.cancel(job.id)


def test_a_figure_is_its_bytes_and_what_is_none_is_told() -> None:
    def answer(heard: Heard) -> Said:
        kind = "image/png" if ".png" in heard.path else "text/html"
        return Said(200, b"\x89PNG", {"Content-Type": kind})

    with played_service(answer) as service, Client(service.url) as client:
        assert client.job_figure("job_1", "layers", format="png", theme="dark") == b"\x89PNG"
        assert client.study_figure("study_1", "front", format="png", model="a/b", task="rte")
        with pytest.raises(InvalidAnswer, match=r"text/html came, not image/svg\+xml"):
            client.study_figure("study_1", "front")
    assert service.heard[0].path == "/v1/jobs/job_1/figures/layers.png?theme=dark"
    assert service.heard[1].path == "/v1/studies/study_1/figures/front.png?model=a%2Fb&task=rte"


def test_a_study_at_rest_is_asked_for_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(Patience, "clock", staticmethod(lambda: now[0]))
    monkeypatch.setattr("layercut.client.wire.sleep", sleep)
    moved = study(row(cell(0), cell(1, "running")))
    at_rest = study(row(cell(0), cell(1, "running", fraction=0.5)))

    def answer(_: Heard) -> Said:
        paused = "paused" if now[0] >= 90 else "running"
        ended = study(row(cell(0), cell(1)), status="paused")
        moved.status = at_rest.status = StudyStatus(paused)
        shown = at_rest if now[0] < 60 else moved if now[0] < 100 else ended
        return said_json(shown.model_dump(mode="json"))

    told: list[Study] = []
    with played_service(answer) as service, Client(service.url) as client:
        assert client.wait_study("study_1", on_change=told.append).status is StudyStatus.PAUSED
    assert slept[0] < 1.0
    assert max(slept) == LONGEST_SECONDS
    # What ran when the budget was used up has ended, too.
    assert [one.status.value for one in told] == ["running", "paused", "paused"]
