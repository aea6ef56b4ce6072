"""What a worker learns of its device's speed: from the jobs that it did, and remembered by the next that starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from api_schemas.jobs import Stage
from api_schemas.reports import Report, Reused
from api_schemas.speeds import Rate
from tests.support.reports import TRAINING, report
from tests.support.supervisor_rig import FAKE_RUNNER, Rig, no_inputs
from workers.settings import WorkerSettings
from workers.supervision.speed_notes import MAX_BYTES, SpeedNotes


def job(folder: Path, seconds: float, **changed: object) -> Path:
    """The published files of a job whose training took so long."""
    training = TRAINING.model_copy(update={"seconds": seconds, "tokens": 400_000, "examples": 10_000, "steps": 300})
    told: Report = report(training={"recovering": training}, **changed)
    folder.mkdir(exist_ok=True)
    (folder / "report.json").write_text(told.model_dump_json())
    return folder


def rate(notes: SpeedNotes, kind: str) -> Rate:
    (found,) = [one for one in notes.speeds.rates if one.kind == kind]
    return found


def test_a_job_tells_what_the_device_computes_and_the_next_start_remembers(tmp_path: Path) -> None:
    notes = SpeedNotes(tmp_path / "speeds", "cpu", "fp32")
    assert notes.speeds.rates == []
    assert notes.learn(job(tmp_path / "job", 100.0))
    learnt = rate(notes, "training")
    assert (learnt.precision, learnt.width, learnt.jobs) == ("fp32", 768, 1)
    # 8 layers of about 7.1 million weights, forward and back, and the 12 of the baseline that answers, forward.
    assert learnt.flops == pytest.approx(400_000 * 2 * 7.08e6 * (3 * 8 + 12) / 100, rel=0.15)
    assert rate(notes, "inference").flops > 0
    assert SpeedNotes(tmp_path / "speeds", "cpu", "fp32").speeds == notes.speeds


def test_one_job_that_was_slow_does_not_change_what_is_told(tmp_path: Path) -> None:
    notes = SpeedNotes(tmp_path / "speeds", "cpu", "fp32")
    for seconds in (100.0, 100.0, 100.0, 3000.0):
        notes.learn(job(tmp_path / "job", seconds))
    alone = SpeedNotes(tmp_path / "alone", "cpu", "fp32")
    alone.learn(job(tmp_path / "job", 100.0))
    assert rate(notes, "training").flops == pytest.approx(rate(alone, "training").flops)
    assert rate(notes, "training").jobs == 4


def test_a_report_counts_once_however_many_trainings_it_tells_of(tmp_path: Path) -> None:
    notes, files = SpeedNotes(tmp_path / "speeds", "cpu", "fp32"), job(tmp_path / "job", 100.0)
    for _ in range(3):
        notes.learn(files)
    honest = rate(notes, "training")
    told = json.loads((files / "report.json").read_text())
    lie = {**told["training"]["recovering"], "seconds": 3.0}
    (files / "report.json").write_text(
        json.dumps({**told, "training": {f"recovering:{at}": lie for at in range(1000)}})
    )
    notes.learn(files)
    after = rate(notes, "training")
    assert (after.flops, after.jobs) == (pytest.approx(honest.flops), 4)


def test_a_device_that_got_faster_is_believed_after_some_jobs(tmp_path: Path) -> None:
    notes = SpeedNotes(tmp_path / "speeds", "cpu", "fp32")
    for seconds in [100.0] * 20 + [10.0] * 5:
        notes.learn(job(tmp_path / "job", seconds))
    assert rate(notes, "training").jobs == 9
    assert rate(notes, "training").flops > 1e12


def test_stages_of_files_are_learnt_too(tmp_path: Path) -> None:
    notes = SpeedNotes(tmp_path / "speeds", "cpu", "fp32")
    notes.learn(job(tmp_path / "job", 100.0, timings={"verifying": 40.0, "exporting": 1.0}))
    ratios = {one.stage: one.ratio for one in notes.speeds.overheads}
    assert ratios[Stage.VERIFYING] > 3
    assert ratios[Stage.EXPORTING] < 1


def test_what_another_job_trained_says_nothing_of_this_device(tmp_path: Path) -> None:
    notes = SpeedNotes(tmp_path / "speeds", "cpu", "fp32")
    files = job(tmp_path / "job", 100.0, reused=[Reused(kind="baseline", fingerprint="f", seconds_saved=1.0)])
    told = json.loads((files / "report.json").read_text())
    told["training"] = {"baseline": told["training"]["recovering"]}
    (files / "report.json").write_text(json.dumps(told))
    notes.learn(files)
    assert [one.kind for one in notes.speeds.rates] == ["inference"]


def test_another_device_of_the_host_has_its_own(tmp_path: Path) -> None:
    SpeedNotes(tmp_path / "speeds", "H200", "bf16").learn(job(tmp_path / "job", 100.0))
    assert SpeedNotes(tmp_path / "speeds", "cpu", "fp32").speeds.rates == []


@pytest.mark.parametrize("text", ["", "{}", "[" * 100_000, '{"training": {"recovering": {"tokens": 1e999}}}'])
def test_a_report_that_is_none_teaches_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    notes = SpeedNotes(tmp_path / "speeds", "cpu", "fp32")
    assert not notes.learn(tmp_path)
    assert notes.speeds.rates == []


def test_a_model_of_a_family_that_nobody_knows_teaches_nothing(tmp_path: Path) -> None:
    files = job(tmp_path / "job", 100.0)
    told = json.loads((files / "report.json").read_text())
    told["model"]["architecture"] = "nobody's"
    (files / "report.json").write_text(json.dumps(told))
    assert not SpeedNotes(tmp_path / "speeds", "cpu", "fp32").learn(files)


def test_a_published_job_is_learnt_from(worker_settings: WorkerSettings) -> None:
    learnt: list[set[str]] = []
    rig = Rig(
        worker_settings,
        FAKE_RUNNER,
        no_inputs,
        learn=lambda files: learnt.append({path.name for path in files.iterdir()}),
    )
    try:
        rig.run("fail:dataset_invalid")
        assert learnt == []
        rig.run("succeed")
        (names,) = learnt
        assert {"model.safetensors", "SHA256SUMS"} <= names
    finally:
        rig.close()


def test_what_a_runner_lies_of_stays_within_what_a_device_can_be(tmp_path: Path) -> None:
    notes = SpeedNotes(tmp_path / "speeds", "cpu", "fp32")
    files = job(tmp_path / "job", 100.0)
    told = json.loads((files / "report.json").read_text())
    told["training"]["recovering"]["tokens"] = 10**30
    (files / "report.json").write_text(json.dumps(told))
    assert not notes.learn(files)


@pytest.mark.parametrize("text", ["no JSON", "{", " " * (MAX_BYTES + 1)])
def test_notes_that_cannot_be_read_are_begun_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "speeds.json").write_text(text)
    notes = SpeedNotes(tmp_path, "cpu", "fp32")
    assert notes.speeds.rates == []
    assert notes.learn(job(tmp_path / "job", 100.0))
    assert SpeedNotes(tmp_path, "cpu", "fp32").speeds == notes.speeds


def test_a_worker_without_any_job_multiplies_matrices_once(tmp_path: Path) -> None:
    notes = SpeedNotes(tmp_path / "speeds", "cpu", "fp32")
    assert notes.probe()
    assert (notes.speeds.matmul or 0) > 1e8
    assert not SpeedNotes(tmp_path / "speeds", "cpu", "fp32").probe(), "its host is known"
