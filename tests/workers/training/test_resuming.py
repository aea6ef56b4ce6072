"""A training that was interrupted ends with the very weights of one that was not; and what is not its own is left."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_models import build
from tests.support.trainings import Killed, Run, assert_same, die, weights
from workers.checkpoints.checkpoint import Stopped
from workers.checkpoints.layout import newest_in
from workers.training.micro_batches import MicroBatches


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("architecture", ["bert", "albert", "xlnet"])
def test_interrupted_again_and_again_it_ends_with_the_same_bits(
    precision: str, architecture: str, tmp_path: Path
) -> None:
    whole = build(architecture, layers=2)
    told = Run(tmp_path / "whole").go(whole, precision=precision, architecture=architecture)
    assert whole.config.to_dict().get("hidden_dropout_prob", 0.1) >= 0  # dropout is on, or this proves little
    for attempt, step in enumerate((3, 17, 18, 40), start=1):
        with pytest.raises(Killed):
            Run(tmp_path / "cut", attempt=attempt).go(
                build(architecture, layers=2), kill_after=step, precision=precision, architecture=architecture
            )
    last, model = Run(tmp_path / "cut", attempt=5), build(architecture, layers=2)
    trained = last.go(model, precision=precision, architecture=architecture)

    assert_same(weights(model), weights(whole))
    # The kill came before the checkpoint of its step.
    assert "info: resumed at step 39 of attempt 4" in last.told
    assert [step.number for step in last.steps] == list(range(40, 49))
    assert last.jumps == [(0, 39, 48)]
    assert (trained.steps, trained.examples, trained.tokens) == (told.steps, told.examples, told.tokens)
    assert trained.loss == told.loss


def test_steps_since_the_last_checkpoint_are_done_again(tmp_path: Path) -> None:
    whole, model = build("bert", layers=2), build("bert", layers=2)
    Run(tmp_path / "whole", every=1000).go(whole)
    first = Run(tmp_path / "cut")

    def no_more() -> None:
        first.checkpoints.every_seconds = 1000

    with pytest.raises(Killed):
        first.go(build("bert", layers=2), kill_after=30, act=lambda: (no_more(), die()))
    second = Run(tmp_path / "cut", attempt=2, every=1000)
    with pytest.raises(Killed):
        second.go(build("bert", layers=2), kill_after=45)
    third = Run(tmp_path / "cut", attempt=3, every=1000)
    third.go(model)
    assert [run.steps[0].number for run in (second, third)] == [30, 30]
    assert_same(weights(model), weights(whole))


def test_a_finished_training_is_taken_as_it_is(tmp_path: Path) -> None:
    whole, model = build("bert", layers=2), build("bert", layers=2)
    trained = Run(tmp_path, every=1000).go(whole)
    again = Run(tmp_path, attempt=2)
    assert again.go(model) == trained
    assert_same(weights(model), weights(whole))
    assert again.steps == []
    assert again.told == ["info: finished in attempt 1"]


@pytest.mark.parametrize("change", [{"data": "d2"}, {"model": "m2"}, {"more": 1}])
def test_what_was_made_from_something_else_is_told_and_not_used(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(Killed):
        Run(tmp_path).go(build("bert", layers=2), kill_after=20)
    other = Run(tmp_path, attempt=2, **change)
    other.go(build("bert", layers=2))
    assert other.steps[0].number == 1
    (warning,) = (line for line in other.told if line.startswith("warning"))
    assert f"made with another {next(iter(change))}" in warning


@pytest.mark.parametrize(
    ("file", "harm"),
    [
        ("state.safetensors", lambda path: os.truncate(path, 1000)),
        ("state.safetensors", lambda path: path.unlink()),
        ("checkpoint.json", lambda path: path.write_text("{")),
        ("checkpoint.json", lambda path: path.write_text("[]")),
    ],
)
def test_a_broken_checkpoint_costs_time_and_nothing_else(
    file: str, harm: Callable[[Path], None], tmp_path: Path
) -> None:
    whole, model = build("bert", layers=2), build("bert", layers=2)
    Run(tmp_path / "whole", every=1000).go(whole)
    with pytest.raises(Killed):
        Run(tmp_path / "cut").go(build("bert", layers=2), kill_after=20)
    harm(tmp_path / "cut" / newest_in(tmp_path / "cut")["baseline-3"] / file)
    other = Run(tmp_path / "cut", attempt=2)
    other.go(model)
    assert_same(weights(model), weights(whole))
    assert any("cannot be read" in line for line in other.told)


def test_nothing_that_is_kept_is_a_pickle_and_only_the_latest_is(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        Run(tmp_path).go(build("bert", layers=2), kill_after=20)
    (folder,) = tmp_path.iterdir()
    assert folder.name == "baseline-3-000000019"
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.json", "state.safetensors"]
    assert json.loads((folder / "checkpoint.json").read_text())["step"] == 19


def test_a_disk_that_is_full_stops_no_training(tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.touch()
    run = Run(blocked)
    run.hooks.micro_batches = MicroBatches()
    assert run.go(build("bert", layers=2)).steps == 48
    assert "warning: no checkpoint at step 1" in run.told[0]


def test_sigterm_ends_it_at_the_next_step_with_a_checkpoint(tmp_path: Path) -> None:
    whole, model = build("bert", layers=2), build("bert", layers=2)
    Run(tmp_path / "whole", every=1000).go(whole)
    before = signal.getsignal(signal.SIGTERM)
    run = Run(tmp_path / "cut", every=1000)
    with pytest.raises(Stopped) as stopped:
        run.go(build("bert", layers=2), kill_after=9, act=lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert run.told == ["info: checkpoint at step 9"]

    again = Run(tmp_path / "cut", attempt=2, every=1000)
    again.go(model)
    assert again.told[0] == "info: resumed at step 9 of attempt 1"
    assert_same(weights(model), weights(whole))


def test_a_sigterm_at_the_very_end_loses_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path, every=1000)
    with pytest.raises(Stopped):
        run.go(build("bert", layers=2), kill_after=48, act=lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert Run(tmp_path).go(build("bert", layers=2)).steps == 48
