"""What `make chaos` draws (the same seed, the same faults and jobs), and what it takes for a broken promise."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest

from tests.chaos.harness.acts import store_away_at_publishing, worker_killed_at_publishing, workers_live
from tests.chaos.harness.faults import FAULTS
from tests.chaos.harness.invariants import told_whole, untold, wrong_weights
from tests.chaos.harness.leftovers import Named
from tests.chaos.harness.load import Load, Offers, Sent
from tests.chaos.harness.run import drawn
from tests.chaos.harness.runner import weights_of
from tests.chaos.harness.scene import Broken, Scene, Skipped
from tests.chaos.harness.studies import wrong_rows
from tests.chaos.harness.traffic import Traffic, Windows, excuses

pytestmark = pytest.mark.chaos


def faults(seed: int) -> list[tuple[str, float, float]]:
    rng = random.Random(seed)
    return [(fault.name, hold, gap) for fault, hold, gap, _ in (drawn(FAULTS, rng) for _ in range(300))]


@pytest.fixture
def traffic() -> Iterator[Traffic]:
    made = Traffic(["http://127.0.0.1:9"], Windows())
    yield made
    made.close()


def jobs(traffic: Traffic, seed: int) -> list[tuple[str, str, dict[str, Any]]]:
    offers = Offers(keys=True, retry=True, delete=True, webhooks=True)
    load = Load(traffic, offers, Path("/inputs"), seed, clients=1, receiver="http://127.0.0.1:9")
    return [(job.kind, job.act, job.body) for job in (load.draw(number) for number in range(200))]


def test_the_same_seed_draws_the_same(traffic: Traffic) -> None:
    assert faults(7) == faults(7) != faults(8)
    assert jobs(traffic, 7) == jobs(traffic, 7) != jobs(traffic, 8)


def test_every_fault_is_drawn_sometime_and_each_has_a_name_of_its_own() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
    assert {name for seed in range(5) for name, *_ in faults(seed)} == set(names)


def test_weights_of_another_job_or_cut_short_are_seen() -> None:
    whole = weights_of("job_a", 100)
    assert list(wrong_weights(whole, "job_a", "quick")) == []
    assert list(wrong_weights(whole, "job_b", "quick")) == ["the weights are those of another job"]
    assert list(wrong_weights(whole[:-4], "job_a", "quick")) == ["the weights are not as long as their header says"]


FILES = {
    "jobs/job_a/attempts/1-x/manifest.json": "kept",
    "jobs/job_a/attempts/1-x/model.safetensors#1": "swept",
    "jobs/job_a/attempts/2-y/config.json": "swept",
    "jobs/job_a/checkpoint/recovering-1/state": "swept",
    "jobs/job_b/checkpoint/recovering-1/state": "kept",
    "jobs/job_b/checkpoint/recovering-1/state#1": "swept",
    "jobs/job_b/attempts/1-x/config.json": "swept",
    "jobs/job_c/checkpoint/recovering-1/state": "kept",
    "jobs/job_d/checkpoint/recovering-1/state": "swept",
    "cache/baseline/f1/p1/model.safetensors": "kept",
    "cache/baseline/f1/p2/model.safetensors": "swept",
    "cache/baseline/f2/p3/model.safetensors": "swept",
}
ROWS = Named(
    {
        "job_a": ("succeeded", "jobs/job_a/attempts/1-x"),
        "job_b": ("failed", None),
        "job_c": ("cancelled", None),
    },
    {"cache/baseline/f1/p1": "made", "cache/baseline/f2/p3": "gone"},
)


def test_kept_is_what_a_row_names_and_what_a_retry_goes_on_from(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert ROWS.unswept(tmp_path).keys() == {name for name, end in FILES.items() if end == "swept"}


def test_one_that_was_retried_is_told_of_its_last_end() -> None:
    sent = Sent(1, "quick", "cancel, retry", 0.0, id="job_a", job={"status": "succeeded"})
    first, last = ("job_a", "job.cancelled"), ("job_a", "job.succeeded")
    assert untold([sent], {first}) == [sent]
    assert untold([sent], {first, last}) == []


@pytest.mark.parametrize(
    ("watched", "whole"), [([], False), ([1, 2], False), ([1, 3], False), ([1, 2, 3], True), ([1, 2, 3, 4], False)]
)
def test_a_watcher_must_have_been_told_of_an_end(watched: list[int], whole: bool) -> None:
    assert told_whole(watched, [1, 2, 3, 4, 5], [3, 5]) is whole


@pytest.mark.parametrize(
    ("call", "code", "away"),
    [
        ("GET /v1/jobs", "database_unavailable", {"database"}),
        ("GET /v1/jobs", "storage_unavailable", set()),
        ("GET /v1/jobs/job_a", "storage_unavailable", set()),
        ("GET /v1/jobs/job_a/events?limit=5", "storage_unavailable", set()),
        ("GET /v1/jobs/job_a/download", "storage_unavailable", {"store"}),
        ("POST /v1/jobs", "storage_unavailable", {"store"}),
        ("POST /v1/jobs", "storage_full", {"disk"}),
        ("GET /v1/jobs", "storage_full", set()),
        ("POST /v1/jobs", "not_ready", set()),
    ],
)
def test_a_503_is_excused_only_by_what_it_names(call: str, code: str, away: set[str]) -> None:
    assert {what for touches in excuses(call, httpx.Response(503, json={"code": code})) for what in touches} == away


def scene_of(store: Path, workers: list[psutil.Process] | None = None) -> Any:
    deployment = SimpleNamespace(store=store, workers=workers or [], database_url=f"sqlite:///{store}/none.db")
    return SimpleNamespace(deployment=deployment, windows=Windows())


@pytest.mark.parametrize("act", [store_away_at_publishing, worker_killed_at_publishing])
def test_nothing_is_done_at_a_publishing_that_does_not_come(
    act: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.chaos.harness.acts.PUBLISHING_SECONDS", 0.02)
    with pytest.raises(Skipped), act(scene_of(tmp_path)):
        pytest.fail("it was begun")


@pytest.mark.parametrize("excused", [False, True])
def test_a_worker_that_ends_is_seen_though_it_is_started_again(tmp_path: Path, excused: bool) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    scene: Scene = scene_of(tmp_path, [psutil.Process(process.pid)])
    watched = workers_live(lambda _: nullcontext())(scene)
    hit = scene.windows.during(frozenset({"worker"})) if excused else nullcontext()
    with nullcontext() if excused else pytest.raises(Broken), watched, hit:
        process.communicate(b"\n")


def test_cells_and_jobs_that_do_not_belong_together_are_seen() -> None:
    def cell(number: int, job: str | None, state: str = "begun", known: bool = False) -> Any:
        return SimpleNamespace(study_id="s", number=number, state=state, job_id=job, known=known)

    def job(job_id: str, status: str = "succeeded") -> Any:
        return SimpleNamespace(id=job_id, status=status, study_id="s")

    running, done = ([SimpleNamespace(id="s", status=status)] for status in ("running", "finished"))
    assert list(wrong_rows(done, [cell(0, "a"), cell(1, "a", known=True)], [job("a")])) == []
    assert list(wrong_rows(running, [cell(0, None, "waiting"), cell(1, "a")], [job("a", "queued")])) == []
    assert [name for name, _ in wrong_rows(done, [cell(0, "a"), cell(1, "a")], [job("a")])] == ["doubled"]
    assert [name for name, _ in wrong_rows(done, [cell(0, "a")], [job("a"), job("b")])] == ["doubled"]
    assert [name for name, _ in wrong_rows(done, [cell(0, "a")], [job("a", "running")])] == ["lost"]
    assert [name for name, _ in wrong_rows(done, [cell(0, None, "waiting")], [])] == ["lost"]
