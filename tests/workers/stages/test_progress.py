"""Progress and ETA through resumed, repeated and slower trainings."""

from __future__ import annotations

import time

import pytest

from api_schemas.events import EventType, NewEvent
from api_schemas.jobs import Progress, Stage
from workers.stages.progress import GUESSES, ProgressReporter
from workers.training.trainer_state import Step

OTHERS = sum(GUESSES.values())


class Reported:
    """What is told of a job with 100 steps of baseline and as many, two thirds as dear, of recovery."""

    def __init__(self, rounds: int = 1) -> None:
        self.events: list[NewEvent] = []
        self.reporter = ProgressReporter(self.events.append)
        self.reporter.expect({Stage.BASELINE: 100, Stage.RECOVERING: 200 / 3}, rounds=rounds, benchmark_seconds=0)

    def steps(self, stage: Stage, first: int, last: int, seconds: float) -> None:
        for number in range(first, last + 1):
            self.reporter.step(stage, Step(number, 100, number / 100, 0.5), seconds)

    @property
    def progress(self) -> Progress:
        return [event.data for event in self.events if event.type == EventType.PROGRESS][-1]

    @property
    def training_left(self) -> float:
        return (self.progress.eta_seconds or 0.0) - OTHERS


def test_what_an_earlier_attempt_did_is_not_ahead_and_counts_as_done() -> None:
    fresh, resumed = Reported(), Reported()
    resumed.reporter.jump(Stage.BASELINE, 0, 80, 100)
    fresh.steps(Stage.BASELINE, 1, 1, 2.0)
    resumed.steps(Stage.BASELINE, 81, 81, 2.0)
    assert fresh.training_left == pytest.approx(2.0 * (99 + 200 / 3), abs=0.1)
    assert resumed.training_left == pytest.approx(2.0 * (19 + 200 / 3), abs=0.1)
    assert resumed.progress.fraction > 0.4 > fresh.progress.fraction


def test_a_training_that_starts_again_is_ahead_again_and_nothing_goes_back() -> None:
    told = Reported()
    told.steps(Stage.BASELINE, 1, 50, 1.0)
    told.reporter.jump(Stage.BASELINE, 50, 0, 100)
    told.steps(Stage.BASELINE, 1, 1, 1.0)
    assert told.training_left == pytest.approx(99 + 200 / 3, abs=0.1)
    fractions = [event.data.fraction for event in told.events if event.type == EventType.PROGRESS]
    assert fractions == sorted(fractions)


def test_a_slower_pace_shows() -> None:
    told = Reported()
    told.steps(Stage.BASELINE, 1, 10, 1.0)
    quick = told.training_left
    told.steps(Stage.BASELINE, 11, 50, 3.0)
    assert told.training_left > quick


def test_further_seeds_are_ahead_too() -> None:
    told = Reported(rounds=3)
    told.steps(Stage.BASELINE, 1, 1, 1.0)
    assert told.training_left == pytest.approx(3 * (100 + 200 / 3) - 1, abs=0.1)


def test_an_attempt_with_nothing_left_to_train_has_an_eta_at_once() -> None:
    told = Reported()
    told.reporter.jump(Stage.BASELINE, 0, 100, 100)
    told.reporter.jump(Stage.RECOVERING, 0, 1, 1)
    assert told.progress.eta_seconds == pytest.approx(OTHERS)


def test_the_parts_of_a_stage_without_training_are_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[NewEvent] = []
    progress = ProgressReporter(told.append)
    now = time.monotonic()
    for part, seconds in enumerate((1, 11, 12, 20, 22), 1):
        monkeypatch.setattr("workers.stages.progress.time.monotonic", lambda at=now + seconds: at)
        progress.part(part, 5)
    assert [(event.data.step, event.data.total_steps) for event in told if isinstance(event.data, Progress)] == [
        (2, 5),
        (5, 5),
    ]


def test_the_parts_of_a_further_pass_come_on_top_of_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model may take as long for its one batch as lies between two reports: all would say the same."""
    told: list[NewEvent] = []
    progress, now = ProgressReporter(told.append), time.monotonic()
    for number, (part, parts) in enumerate([(1, 1), (1, 1), (1, 2), (2, 2), (1, 2)], 1):
        monkeypatch.setattr("workers.stages.progress.time.monotonic", lambda at=now + 20 * number: at)
        progress.part(part, parts)
    places = [(event.data.step, event.data.total_steps) for event in told if isinstance(event.data, Progress)]
    assert places == [(1, 1), (2, 2), (3, 4), (4, 4), (5, 6)]


def test_a_report_says_where_the_job_is_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Reported()
    with told.reporter.stage(Stage.BASELINE):
        told.steps(Stage.BASELINE, 1, 30, 1.0)
    with told.reporter.stage(Stage.SCORING):
        told.reporter.part(1, 4)
        now = time.monotonic()
        monkeypatch.setattr("workers.stages.progress.time.monotonic", lambda: now + 11)
        told.reporter.part(2, 4)
    said = [event.message for event in told.events if event.type == EventType.PROGRESS]
    assert said[29].startswith("baseline  step 30 of 100  0 % of the job  about ")
    assert said[29].endswith(" min left")
    assert said[30].startswith("baseline  done  0 % of the job  about ")
    assert said[31].startswith("scoring  step 2 of 4  ")


def test_what_cannot_be_known_yet_is_not_said() -> None:
    told = Reported()
    told.reporter.skip(Stage.SCORING, "the strategy ranks no layers")
    assert told.events[-1].message == "0 % of the job"
    assert told.progress.eta_seconds is None
