"""Between attempts and a service that tracks them: what is told, and what nobody waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from api_schemas.jobs import Status
from tests.support.processes import eventually
from tests.support.reports import report
from tests.support.tracked_rig import TrackedRig
from workers.tracking.backend import Trouble
from workers.tracking.entries import Begin, End, Files, Params, Point
from workers.tracking.tracker import MOST_WAITING, Tracker


class Service:
    """One that does as a test says, and remembers what it was told."""

    name = "a service"

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.faults: list[Exception] = []
        self.tries = 0
        self.open = threading.Event()
        self.open.set()

    def prepare(self) -> None:
        pass

    def _hear(self, entry: object) -> None:
        self.tries += 1
        self.open.wait(60)
        if self.faults:
            raise self.faults[0]
        self.told.append(entry)

    def begin(self, run: Begin) -> None:
        self._hear(run)

    def params(self, more: Params) -> None:
        self._hear(more)

    def points(self, points: Sequence[Point]) -> None:
        self._hear(list(points))

    def files(self, files: Files) -> None:
        self._hear(files)

    def end(self, end: End) -> None:
        self._hear(end)

    def drop(self) -> None:
        self.told.append("dropped")

    def trouble(self, error: Exception) -> Trouble:
        return Trouble(str(error), isinstance(error, TimeoutError))

    def ends(self) -> list[End]:
        return [entry for entry in self.told if isinstance(entry, End)]

    def points_told(self) -> list[Point]:
        return [point for entry in self.told if isinstance(entry, list) for point in entry]


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def tracker(service: Service) -> Iterator[Tracker]:
    tracker = Tracker(service, later_seconds=0.5)
    yield tracker
    service.open.set()
    tracker.close(0)


@pytest.fixture
def rig(rigs: Callable[..., TrackedRig], tracker: Tracker) -> TrackedRig:
    return rigs(tracker)


AWAY = TimeoutError("it does not answer")


def test_a_job_from_its_attempt_to_its_end(rig: TrackedRig, service: Service, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(report().model_dump_json())
    job = rig.run(
        "stage:recovering",
        "loss:1=0.9",
        "loss:2=0.8",
        "metric:accuracy=91.5",
        f"report:{tmp_path}/report.json",
        "succeed",
    )
    assert job.status == Status.SUCCEEDED
    assert rig.told()
    begun, *_, ended, dropped = service.told
    assert (begun.job_id, begun.attempt, begun.group) == (job.id, 1, "default")
    assert begun.link == f"https://layercut.example.org/v1/jobs/{job.id}"
    assert begun.tags["layercut.version"] == "1.2.3"
    assert begun.tags["metadata.acts"].startswith("stage:recovering loss:1")
    assert begun.params["model.id"] == "a/b"
    points = {name: (value, at.step) for at in service.points_told() for name, value in at.values.items()}
    assert points["recovering/loss"] == (0.8, 2)
    assert (points["after/accuracy"], points["after/score"]) == ((91.6, None), (91.6, None)), "as the report says"
    (files,) = (entry for entry in service.told if isinstance(entry, Files))
    assert files.texts == {"report.json": (tmp_path / "report.json").read_text(), "README.md": "# a card\n"}
    assert (ended.status, ended.tags["layercut.verdict"], dropped) == ("succeeded", "smaller", "dropped")


@pytest.mark.parametrize(
    ("acts", "status", "error"),
    [(("fail:training_diverged",), "failed", "training_diverged"), (("exit:3",), "queued", None)],
)
def test_an_attempt_leaves_its_run_as_the_store_has_the_job(
    rig: TrackedRig, service: Service, acts: tuple[str, ...], status: str, error: str | None
) -> None:
    rig.run(*acts)
    assert rig.told()
    (end,) = service.ends()
    assert (end.status, end.tags.get("layercut.error")) == (status, error)


def test_a_job_that_is_cancelled(rig: TrackedRig, service: Service, tmp_path: Path) -> None:
    job_id = rig.submit(f"touch:{tmp_path}/here", "linger")
    thread = rig.start()
    eventually((tmp_path / "here").exists)
    rig.store.cancel(job_id)
    thread.join(30)
    assert rig.told()
    assert [end.status for end in service.ends()] == ["cancelled"]


def test_of_an_attempt_that_lost_its_lease_no_end_is_told(rig: TrackedRig, service: Service, tmp_path: Path) -> None:
    job_id = rig.submit(f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "succeed")
    thread = rig.start()
    eventually((tmp_path / "here").exists)
    rig.steal(job_id)
    (tmp_path / "go").touch()
    thread.join(30)
    assert rig.told()
    assert [end.status for end in service.ends()] == ["lost"]


def test_a_service_that_hangs_holds_up_no_job(rig: TrackedRig, service: Service) -> None:
    service.open.clear()
    job = rig.run("stage:recovering", "loss:1=0.9", "warned", "succeed")
    assert job.status == Status.SUCCEEDED
    assert "warned:tracking by a service: it has not answered yet. The job goes on" in rig.texts(job.id)
    service.open.set()
    assert rig.told()
    assert [end.status for end in service.ends()] == ["succeeded"]


def test_a_service_that_is_away_is_told_all_when_it_is_back(rig: TrackedRig, service: Service, tmp_path: Path) -> None:
    job_id = rig.submit("stage:recovering", "loss:1=0.9", f"wait:{tmp_path}/go", "warned", "loss:2=0.8", "succeed")
    service.faults.append(AWAY)
    thread = rig.start()
    eventually(lambda: "tracking by a service: it does not answer" in rig.texts(job_id))
    service.faults.clear()
    eventually(lambda: "tracking by a service: it answers again" in rig.texts(job_id))
    (tmp_path / "go").touch()
    thread.join(30)
    assert rig.told()
    assert "warned:" not in rig.texts(job_id), "nothing is missing"
    assert {point.step for point in service.points_told() if "recovering/loss" in point.values} == {1, 2}
    assert [end.status for end in service.ends()] == ["succeeded"]


def test_the_report_warns_of_a_service_that_is_away(rig: TrackedRig, service: Service, tmp_path: Path) -> None:
    service.faults.append(AWAY)
    job_id = rig.submit(f"wait:{tmp_path}/go", "warned", "succeed")
    thread = rig.start()
    eventually(lambda: "it does not answer" in rig.texts(job_id))
    (tmp_path / "go").touch()
    thread.join(30)
    assert rig.store.get(job_id).status == Status.SUCCEEDED
    assert "warned:tracking by a service: it does not answer. The job goes on; its run there may be" in rig.texts(
        job_id
    )
    levels = [event.level for event in rig.events(job_id) if "it does not answer" in event.message]
    assert levels[0] == "warning"
    assert rig.told(), "it is given up, some time after the end"
    assert service.told == ["dropped"]
    service.faults.clear()
    assert rig.run("succeed").status == Status.SUCCEEDED
    assert rig.told()
    assert [end.status for end in service.ends()] == ["succeeded"], "the next job is told of"


def test_a_service_that_refuses_the_run_is_told_no_more_of_it(rig: TrackedRig, service: Service) -> None:
    service.faults.append(ValueError("it refuses us"))
    job = rig.run("stage:recovering", "loss:1=0.9", "loss:2=0.9", "succeed")
    assert job.status == Status.SUCCEEDED
    assert rig.told()
    assert (service.tries, service.told) == (1, ["dropped"])


def test_what_the_service_does_not_take_is_left_out(tracker: Tracker, service: Service) -> None:
    said: list[str] = []
    tracker.begin(Begin("job_1", 1, "default", "n", "", {}, {}), lambda text, _: said.append(text))
    assert tracker.flush(10)
    service.faults.append(ValueError("it does not take what it is told"))
    tracker.put(Params({"a": "1"}))
    tracker.put(Params({"a": "2"}))
    assert tracker.flush(10)
    service.faults.clear()
    assert tracker.warnings == said
    assert len(said) == 1
    tracker.put(End("succeeded"))
    assert tracker.flush(10)
    assert [end.status for end in service.ends()] == ["succeeded"]


def test_the_queue_is_bounded_and_loses_points_alone(tracker: Tracker, service: Service) -> None:
    service.open.clear()
    tracker.begin(Begin("job_1", 1, "default", "n", "", {}, {}), lambda *_: None)
    for step in range(3 * MOST_WAITING):
        tracker.put(Point({"loss": 1.0}, step, 0.0))
    tracker.put(Files({"report.json": "{}"}))
    tracker.put(End("succeeded"))
    service.open.set()
    assert tracker.flush(30)
    assert MOST_WAITING - 10 <= len(service.points_told()) <= MOST_WAITING
    assert [type(entry) for entry in service.told[-3:-1]] == [Files, End]


def test_without_a_report_a_run_has_no_numbers_and_ends(rig: TrackedRig, service: Service) -> None:
    assert rig.run("succeed").status == Status.SUCCEEDED
    assert rig.told()
    assert not [entry for entry in service.told if isinstance(entry, Files)]
    assert [end.status for end in service.ends()] == ["succeeded"]


def test_a_runner_that_asks_twice_what_its_report_warns_of_breaks_the_rules(rig: TrackedRig) -> None:
    job = rig.run("warned", "warned", "succeed", max_attempts=1)
    assert job.error is not None
    assert (job.status, job.error.code) == (Status.FAILED, "protocol_violation")
