"""Whole jobs with `auto`: each objective, met and not met; what is read, kept, resumed and shared."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from fastapi.testclient import TestClient

from api_schemas.errors import LayercutError
from api_schemas.events import ArtifactFiles, EventType, NewEvent
from api_schemas.jobs import Stage
from api_schemas.objectives import Objective
from api_schemas.plans import Plan
from api_schemas.reports import Report, Search
from api_schemas.requests import JobRequest
from service.app import create_app
from service.settings import GatewaySettings
from sources.importance import BRACKET
from tests.support.tiny_models import SENTENCES, build, tiny_model
from workers import pipeline
from workers.cache.folder import FolderCache
from workers.pipeline import run_pipeline
from workers.settings import WorkerSettings
from workers.stages import choose as choose_stage
from workers.stages import search as search_stage


class Found(BaseException):
    def __init__(self, plan: Plan) -> None:
        self.plan = plan


def _found(_bench: Any, _source: Any, plan: Plan) -> None:
    raise Found(plan)


class Auto:
    """Jobs on one tiny model and table. They share a cache unless they are told to have their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = WorkerSettings(data_dir=folder, model_roots=[folder], data_roots=[folder], device="cpu")
        self.cache = FolderCache(folder / "cache", 1 << 30)
        rows = [f"{SENTENCES[row % 8].replace(',', '')} {row},{'up' if row % 2 else 'down'}" for row in range(72)]
        for name, part in (("table", rows[:60]), ("dev", rows[60:])):
            (folder / f"{name}.csv").write_text("\n".join(["text,label", *part]) + "\n")
        self.model = tiny_model("bert", folder / "source", head="base", layers=5)
        self.events: list[NewEvent] = []

    def request(self, prune: dict[str, Any], **more: Any) -> JobRequest:
        task = {
            "dataset": str(self.folder / "table.csv"), "dev": str(self.folder / "dev.csv"),
            "text_columns": ["text"], "label_column": "label",
        }  # fmt: skip
        return JobRequest.model_validate({
            "model": str(self.model), "task": task, "prune": {"strategy": "auto", **prune},
            "recovery": {"epochs": 4, "batch_size": 8, "learning_rate": 0.001, "max_length": 16},
            "evaluation": {"latency": {"batch_sizes": [], "sequence_lengths": []}}, **more,
        })  # fmt: skip

    def run(self, name: str, prune: dict[str, Any], *, cache: FolderCache | None = None, **more: Any) -> Report:
        self.events = []
        out = self.folder / f"out-{name}"
        out.mkdir(exist_ok=True)
        run_pipeline(
            self.request(prune, **more), job_id=None, out=out, settings=self.settings, tell=self.events.append,
            shared=cache or self.cache, checkpoints=self.folder / f"checkpoints-{name}",
        )  # fmt: skip
        return Report.model_validate_json((out / "artifact" / "report.json").read_text())

    def plan(self, name: str, prune: dict[str, Any], *, cache: FolderCache | None = None, **more: Any) -> Plan:
        """Of a job that is given up when its plan is made."""
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(pipeline, "prune", _found)
            with pytest.raises(Found) as caught:
                self.run(name, prune, cache=cache, **more)
        return caught.value.plan

    @property
    def ending(self) -> NewEvent:
        return self.events[-1]


@pytest.fixture
def auto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Auto:
    structlog.configure(
        logger_factory=structlog.ReturnLoggerFactory(), processors=[structlog.processors.JSONRenderer()]
    )
    monkeypatch.setattr("workers.evaluation.latency.SECONDS_A_CELL", 0.02)
    return Auto(tmp_path)


def searched(report: Report | Plan) -> Search:
    assert report.search is not None
    return report.search


@pytest.mark.long
@pytest.mark.slow
def test_a_drop_is_found_with_few_steps_and_a_second_job_reads_the_search(auto: Auto) -> None:
    report = auto.run("first", {"drop": 2})
    search = searched(report)
    bracket = search.brackets[0]
    asked = auto.request({}).recovery
    assert (asked.batch_size, asked.epochs) == (8, 4)
    full = math.ceil(60 / 8) * 4
    assert auto.ending.type == EventType.SUCCEEDED
    assert (search.chosen, search.met, search.objective) == (2, True, Objective(drop=2))
    assert report.layers.dropped == bracket.best.dropped == search.curve[0].dropped
    assert (len(report.layers.dropped), 0 in report.layers.kept) == (2, True)
    # 4 layers are free: all 6 ways compete, and no more steps than half of a recovery are taken.
    assert len(bracket.candidates) == 6
    assert {"top", "greedy", "taylor"} <= {name for one in bracket.candidates for name in one.strategies}
    assert 0 < search.steps == search.spent_steps <= full / 2
    assert search.steps == sum(trial.steps for one in bracket.candidates for trial in one.trials)
    assert bracket.rows == 6
    assert report.strategy.name == "auto"
    told = [event for event in auto.events if event.type == EventType.PROGRESS and event.data.step]
    assert {event.data.total_steps for event in told} == {full // 2, full}
    fractions = [event.data.fraction for event in auto.events if event.type == EventType.PROGRESS]
    assert fractions == sorted(fractions)
    plans = [event.data.plan for event in auto.events if event.type == EventType.RESOLVED]
    assert plans[0].dropped is None, "pinned before the search, and open"
    assert plans[-1].search.front == search.front

    second = auto.run("second", {"objective": {"drop": 2}}, evaluation={"latency": {"batch_sizes": [2]}})
    assert "search_bracket" in [thing.kind for thing in second.reused]
    assert searched(second).brackets == search.brackets
    assert searched(second).spent_steps == 0
    assert second.layers == report.layers


def test_a_retention_is_searched_over_sizes(auto: Auto) -> None:
    plan = auto.plan("modest", {"objective": {"min_retention": 0.01}})
    search = searched(plan)
    assert (search.chosen, plan.dropped) == (4, [1, 2, 3, 4])
    assert [point.drop for point in search.curve] == [3, 4], "by bisection: 3 fits, then 4 does"
    assert [bracket.best.last.steps for bracket in search.brackets] == [16, 16], "half of a recovery more, to be judged"
    assert 4 in search.front
    assert all(point.parameters and point.bytes and point.retention is not None for point in search.curve)
    # Another objective runs the brackets that it lacks, and reads the others.
    other = searched(auto.plan("high", {"objective": {"min_retention": 0.99}}))
    assert [one for one in other.brackets if one.drop == 3] == search.brackets[:1]
    assert other.spent_steps == sum(one.steps for one in other.brackets if one.drop not in (3, 4))


@pytest.mark.slow
def test_an_objective_that_is_missed_fails_the_job_and_keeps_its_files(auto: Auto) -> None:
    report = auto.run("fast", {"objective": {"max_latency_ms": 0.001, "batch_size": 2, "sequence_length": 4096}})
    search = searched(report)
    assert auto.ending.type == EventType.FAILED
    error = auto.ending.data.error
    assert (error.code, error.param) == ("objective_not_met", "/prune/objective")
    assert "0.001 ms" in error.message
    assert (search.met, search.shortfall) == (False, error.message.split(";")[0])
    assert auto.ending.data.artifact == ArtifactFiles(folder="artifact", archive="model.tar")
    assert auto.ending.data.usage.training_steps > search.spent_steps
    assert (auto.folder / "out-fast" / "model.tar").exists()
    assert report.verification.passed
    assert (
        "**The objective was not met**: the fastest model" in (auto.folder / "out-fast/artifact/README.md").read_text()
    )
    # As fast as it gets: each size was timed at what the model can read, and only the chosen one was searched.
    assert [point.drop for point in search.curve] == [1, 2, 3, 4]
    assert all(point.latency and point.latency.sequence_length == 64 for point in search.curve)
    assert [bracket.drop for bracket in search.brackets] == [search.chosen]
    assert [(cell.batch_size, cell.sequence_length) for cell in report.after.latency] == [(2, 64)]


@pytest.mark.slow
def test_a_speed_and_a_size_that_can_be_had(auto: Auto) -> None:
    slow = searched(auto.plan("slow", {"objective": {"max_latency_ms": 60_000}}))
    assert (slow.chosen, len(slow.curve), len(slow.brackets)) == (1, 4, 1)
    # Of 4 layers left, with the classifier's weights counted: one parameter less takes another layer.
    whole = build("bert", layers=5)
    size = whole.num_parameters() - sum(weight.numel() for weight in whole.bert.encoder.layer[0].parameters())
    less = auto.plan("less", {"objective": {"max_params": size - 1}})
    assert searched(less).chosen == 2
    fits = auto.run("fits", {"objective": {"max_params": size}})
    assert (fits.after.parameters, searched(fits).chosen, searched(fits).met) == (size, 1, True)
    assert auto.ending.type == EventType.SUCCEEDED


def test_dev_is_not_read_while_the_search_is_on(auto: Auto, monkeypatch: pytest.MonkeyPatch) -> None:
    class Sealed:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError("dev was opened")

    looked: list[bool] = []
    original = search_stage.search_layers

    def watched(run: Any, baseline: Any) -> Any:
        looked.append(True)
        job = run.job
        sealed = replace(job, dev=Sealed(), data=replace(job.data, dev=Sealed()))
        return original(replace(run, job=sealed), baseline)

    monkeypatch.setattr(choose_stage, "search_layers", watched)
    assert auto.plan("sealed", {"objective": {"min_retention": 0.5}}).dropped
    assert looked


@pytest.mark.slow
def test_an_interrupted_search_goes_on_after_its_last_rung(auto: Auto, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = searched(auto.plan("whole", {"drop": 2}, cache=FolderCache(auto.folder / "other", 1 << 30)))

    class Gone(BaseException):
        pass

    original, trained = search_stage.SuccessiveHalving._train, []

    def train(self: Any, model: Any, kept: list[int], steps: int) -> int:
        if len(trained) == 7:  # one into the second rung
            raise Gone
        trained.append(steps)
        return original(self, model, kept, steps)

    monkeypatch.setattr(search_stage.SuccessiveHalving, "_train", train)
    with pytest.raises(Gone):
        auto.run("broken", {"drop": 2})
    assert len(trained) == 7
    trained[:] = []
    plan = auto.plan("broken", {"drop": 2})
    assert len(trained) == 2, "the second rung alone, from its start"
    assert searched(plan).brackets == whole.brackets


def test_where_nothing_can_be_trained_the_job_says_so(auto: Auto, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*_: Any) -> int:
        raise LayercutError("training_diverged", "the loss is nan")

    monkeypatch.setattr(search_stage.SuccessiveHalving, "_train", diverge)
    with pytest.raises(LayercutError, match="no way to drop 2 layers could be trained") as caught:
        auto.run("nan", {"drop": 2})
    assert (caught.value.code, caught.value.param) == ("training_diverged", "/recovery/learning_rate")
    assert Stage.RECOVERING not in [getattr(event.data, "stage", None) for event in auto.events]


def test_a_runner_refuses_what_the_gateway_could_not_see(auto: Auto) -> None:
    with pytest.raises(LayercutError, match="only 0 are free") as caught:
        auto.run("stuck", {"objective": {"min_retention": 0.9}, "protect_layers": [0, 1, 2, 3, 4]})
    assert (caught.value.code, caught.value.param) == ("invalid_layers", "/prune/protect_layers")


def test_one_training_row_cannot_be_held_out(auto: Auto) -> None:
    task = {**auto.request({}).task.model_dump(exclude_defaults=True), "max_train_rows": 1}
    with pytest.raises(LayercutError, match="2 training rows at least"):
        auto.run("one", {"drop": 2}, task=task)


@pytest.mark.slow
def test_a_plan_is_answered_from_the_brackets_that_jobs_ran(auto: Auto, tmp_path: Path) -> None:
    """The gateway works out the same fingerprints as the worker, and the same choice."""
    settings = GatewaySettings(
        data_dir=tmp_path / "data", database_url="", broker_url="", artifacts_url="", glue_dir=None,
        model_roots=[tmp_path], data_roots=[tmp_path], reap_seconds=3600,
    )  # fmt: skip
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        sent = auto.request({"objective": {"min_retention": 0.01}}).model_dump(mode="json", exclude_unset=True)
        job_id = client.post("/v1/jobs", json=sent).json()["id"]
        asked = {name: sent[name] for name in ("model", "task", "recovery", "prune")}
        before = client.post("/v1/plans", json=asked).json()
        assert (before["dropped"], before["search"]) == (None, None)
        assert "POST /v1/jobs" in before["warnings"][-1]

        made = auto.plan("made", sent["prune"])
        state = client.app.state.gateway  # type: ignore[attr-defined]
        lease = state.store.claim("worker-1").lease
        for folder in (tmp_path / "cache" / BRACKET).iterdir():
            place = state.cache.take(lease, BRACKET, folder.name)
            state.artifacts.publish(place.prefix, folder / "files")
            assert state.cache.made(lease, folder.name, seconds=1.0, size=10)

        plan = client.post("/v1/plans", json=asked).json()
        assert (plan["dropped"], plan["measured_by"], plan["protected"]) == (made.dropped, job_id, [0])
        assert plan["search"]["curve"] == searched(made).model_dump(mode="json")["curve"]
        for prune in ({"objective": {"min_retention": 0.999}}, {"objective": {"max_latency_ms": 5}}, {"drop": 1}):
            open_ = client.post("/v1/plans", json={**asked, "prune": {"strategy": "auto", **prune}}).json()
            if open_["dropped"] is None:
                assert "POST /v1/jobs" in open_["warnings"][-1]
            else:
                assert prune == {"objective": {"min_retention": 0.999}}
        assert client.post("/v1/plans", json={**asked, "seed": 1}).json()["search"] is None

        wrong = {**asked, "prune": {"strategy": "auto", "objective": {"drop": 1, "max_params": 5}}}
        refused = client.post("/v1/jobs", json=wrong)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/prune/objective")
        assert "drop and max_params at once" in refused.json()["detail"]
        wrong["prune"]["objective"] = {"min_retention": 1.5}
        refused = client.post("/v1/jobs", json=wrong)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/prune/objective/min_retention")
