"""Several training seeds: the mean and its spread, and the first seed's model whatever the others score."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from api_schemas.errors import LayercutError
from api_schemas.events import EventType, NewEvent
from api_schemas.reports import Report
from api_schemas.requests import JobRequest
from tests.support.tiny_models import tiny_model
from tests.support.whole_jobs import carry_out, own
from workers.pipeline import run_pipeline
from workers.settings import WorkerSettings

LATENCY = {"batch_sizes": [], "sequence_lengths": []}


@pytest.mark.slow
def test_scores_are_means_and_the_model_is_the_first_seeds(
    tmp_path: Path, settings: WorkerSettings, table: Path
) -> None:
    model = tiny_model("bert", tmp_path / "source", head="base", layers=3)
    recovery = {"epochs": 2, "learning_rate": 0.001, "batch_size": 8}
    body = {"model": str(model), "task": own(table), "prune": {"drop": 1}, "recovery": recovery}
    many = carry_out({**body, "evaluation": {"seeds": [7, 5, 42], "latency": LATENCY}}, settings)
    (settings.data_dir / "out").rename(settings.data_dir / "many")
    one = carry_out({**body, "evaluation": {"seeds": [7], "latency": LATENCY}}, settings)

    weights, alone = (
        load_file(settings.data_dir / "many" / "artifact" / "model.safetensors"),
        load_file(one.folder / "model.safetensors"),
    )
    assert all(weights[name].equal(alone[name]) for name in alone)
    for side in (many.report.before, many.report.after):
        assert side.scores is not None
        assert list(side.scores.by_seed) == [7, 5, 42]
        mean = sum(side.scores.by_seed.values()) / 3
        assert side.score == side.scores.mean == pytest.approx(mean)
        spread = (sum((score - mean) ** 2 for score in side.scores.by_seed.values()) / 2) ** 0.5
        assert side.scores.std == pytest.approx(spread)
    assert many.report.after.scores is not None
    assert one.report.after.scores is not None
    assert many.report.after.scores.by_seed[7] == one.report.after.score
    assert one.report.after.scores.std is None
    assert many.report.retention == many.report.after.score / many.report.before.score
    assert many.report.gain_interval is not None
    assert set(many.report.training) == {
        "baseline", "recovering", "baseline, seed 5", "recovering, seed 5", "baseline, seed 42", "recovering, seed 42",
    }  # fmt: skip
    told = [(e.data.stage, e.data.seed) for e in many.events if e.type == EventType.STAGE and e.data.seed is not None]
    assert [seed for stage, seed in told if stage == "baseline"] == [7, 5, 42]
    fractions = [event.data.fraction for event in many.events if event.type == EventType.PROGRESS]
    assert fractions == sorted(fractions)
    assert not (settings.data_dir / "many" / "checkpoints").exists()
    card = (settings.data_dir / "many" / "artifact" / "README.md").read_text()
    assert "standard deviation over 3 training seeds" in card


@pytest.mark.parametrize(
    ("evaluation", "more", "words"),
    [
        ({"seeds": [1, 2, 1]}, {}, "seed 1 is listed twice"),
        ({"seeds": [1, 2]}, {"task": "none"}, "further seeds change nothing"),
        ({"seeds": [1, 2]}, {"recovery": {"method": "none"}}, "further seeds change nothing"),
    ],
)
def test_seeds_that_make_no_sense_are_refused(evaluation: dict, more: dict, words: str) -> None:
    with pytest.raises(LayercutError, match=words) as caught:
        JobRequest.model_validate({"model": "a/b", "task": "sst2", "evaluation": evaluation, **more})
    assert caught.value.param == "/evaluation/seeds"


def test_the_seed_is_the_one_seed_by_default() -> None:
    assert JobRequest.model_validate({"model": "a/b", "task": "sst2", "seed": 9}).seeds == [9]


@pytest.mark.slow
def test_a_later_attempt_trains_and_scores_nothing_again(tmp_path: Path, settings: WorkerSettings, table: Path) -> None:
    model = tiny_model("bert", tmp_path / "source", head="base", layers=2)
    request = JobRequest.model_validate(
        {
            "model": str(model), "task": own(table), "prune": {"drop": 1},
            "recovery": {"epochs": 1, "batch_size": 8}, "evaluation": {"seeds": [7, 5], "latency": LATENCY},
        }
    )  # fmt: skip
    sides, told = [], []
    for attempt in (1, 2):
        events: list[NewEvent] = []
        out = tmp_path / f"out-{attempt}"
        out.mkdir()
        run_pipeline(
            request, job_id="job_x", out=out, settings=settings, tell=events.append,
            attempt=attempt, checkpoints=tmp_path / "checkpoints",
        )  # fmt: skip
        report = Report.model_validate_json((out / "artifact" / "report.json").read_text())
        sides.append((report.before.scores, report.after.scores, report.gain_interval))
        told.append([event.message for event in events if event.type == EventType.LOG])
    assert sides[0] == sides[1]
    assert told[1].count("finished in attempt 1") == 2
    assert not any("checkpoint at step" in line for line in told[1])
    kept = sorted(path.name.rpartition("-")[0] for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["baseline-7", "recovering-7", "scores-5"]
