"""Jobs on what earlier jobs delivered, and jobs that only evaluate: whole, in this process, on tiny models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, load_file
from transformers import AutoModelForSequenceClassification

import workers.stages.deliver
from api_schemas.errors import LayercutError
from api_schemas.jobs import Job
from api_schemas.reports import Verification
from tests.support.earlier_jobs import Service
from tests.support.tiny_models import tiny_model
from tests.support.whole_jobs import own

RECOVERY = {"epochs": 2, "learning_rate": 0.001, "baseline_learning_rate": 0.001, "batch_size": 8}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.engine.dispose()


@pytest.fixture
def bert(tmp_path: Path) -> str:
    return str(tiny_model("bert", tmp_path / "source", head="base", layers=6))


@pytest.fixture
def believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verification is a process of its own, which takes seconds: here it is believed to pass."""
    passed = Verification(passed=True, checks=[])
    monkeypatch.setattr(workers.stages.deliver, "verify", lambda *_, **__: passed)


def from_(job: Job, **more: Any) -> dict[str, Any]:
    return {**RECOVERY, "from": f"job:{job.id}", **more}


def weights(service: Service, job: Job) -> dict[str, torch.Tensor]:
    return load(service.file(job, "model.safetensors"))


@pytest.mark.slow
@pytest.mark.long
def test_a_pruned_model_is_pruned_further_and_recovered_again(service: Service, bert: str, table: Path) -> None:
    asked = {"model": bert, "task": own(table)}
    first = service.done(**asked, prune={"strategy": "explicit", "drop_layers": [3]}, recovery=RECOVERY)
    assert service.report(first).start is None

    second = service.done(**asked, prune={"strategy": "top", "drop": 2}, recovery=from_(first))
    report = service.report(second)
    assert (report.layers.total, report.layers.kept, report.layers.dropped) == (6, [0, 1, 2], [3, 4, 5])
    assert report.start is not None
    assert (report.start.job, report.start.kept) == (first.id, [0, 1, 2, 4, 5])
    assert report.verification.passed
    assert report.before.parameters == service.report(first).before.parameters, "before is the original"
    assert report.model.layers == 6
    assert "baseline" in [reused.kind for reused in report.reused], "it is the one of the original model"
    card = service.file(second, "README.md").decode()
    assert first.id.replace("_", r"\_") in card
    assert "pruning" in service.stages(skipped=False)

    third = service.done(**asked, prune="none", recovery=from_(second, effort="high", epochs=1))
    last = service.report(third)
    assert (last.layers.kept, last.layers.dropped) == (report.layers.kept, report.layers.dropped)
    assert (last.recovery.effort, last.strategy.name, last.verification.passed) == ("high", "none", True)
    assert "pruning" in service.stages(skipped=True)
    before, after = weights(service, second), weights(service, third)
    assert before.keys() == after.keys()
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert "bert.encoder.layer.2.output.dense.weight" in moved, "it learnt on"
    far = max(float((before[name] - after[name]).abs().max()) for name in before)
    assert far < 0.1, "and from there"

    fourth = service.post({**asked, "prune": {"strategy": "explicit", "drop_layers": [2]}, "recovery": from_(third)})
    assert fourth.resolved is not None
    assert fourth.resolved.plan is not None
    assert (fourth.resolved.plan.kept, fourth.resolved.plan.dropped) == ([0, 1], [2, 3, 4, 5])
    with pytest.raises(LayercutError, match=r"\[3\] are not in what job_.* it has \[0, 1, 2\]") as caught:
        service.post({**asked, "prune": {"strategy": "explicit", "drop_layers": [3]}, "recovery": from_(third)})
    assert (caught.value.code, caught.value.param) == ("invalid_layers", "/prune/drop_layers")


@pytest.mark.slow
def test_without_training_the_earlier_jobs_weights_are_copied(service: Service, bert: str) -> None:
    first = service.done(model=bert, task="none", prune={"strategy": "explicit", "drop_layers": [1, 2]})
    asked = {"model": bert, "task": "none", "recovery": {"from": f"job:{first.id}"}}
    second = service.done(**asked, prune={"strategy": "explicit", "keep_layers": [5, 3]})
    report = service.report(second)
    assert (report.layers.kept, report.layers.dropped) == ([3, 5], [0, 1, 2, 4])
    assert (report.layers.total, report.verification.passed) == (6, True)
    original, after = load_file(Path(bert) / "model.safetensors"), weights(service, second)
    for here, there in enumerate([3, 5]):
        name = "encoder.layer.{}.output.dense.weight"
        assert torch.equal(after[name.format(here)], original[name.format(there)])
    assert report.before.bytes > service.report(first).after.bytes > report.after.bytes


@pytest.mark.usefixtures("believed")
@pytest.mark.slow
def test_scored_strategies_measure_what_is_left(service: Service, bert: str, table: Path) -> None:
    asked = {"model": bert, "task": own(table)}
    first = service.done(**asked, prune={"strategy": "explicit", "drop_layers": [2, 4]}, recovery=RECOVERY)
    for strategy in ("block_influence", "greedy"):
        job = service.done(**asked, prune={"strategy": strategy, "drop": 1}, recovery=from_(first))
        report = service.report(job)
        gone = set(report.layers.dropped) - {2, 4}
        assert len(gone) == 1
        assert gone < {1, 3, 5}, "and 0 is protected"
        importance = report.strategy.importance
        assert importance is not None
        assert [layer for layer, value in enumerate(importance) if value is None] == [2, 4]
        assert gone == {min((1, 3, 5), key=lambda layer: importance[layer])}
        again = service.done(**asked, prune={"strategy": strategy, "drop": 1}, recovery=from_(first))
        assert "layer_importance" in [reused.kind for reused in service.report(again).reused]
    whole = service.done(**asked, prune={"strategy": "block_influence", "drop": 1}, recovery=RECOVERY)
    assert "layer_importance" not in [reused.kind for reused in service.report(whole).reused]


@pytest.mark.slow
@pytest.mark.usefixtures("believed")
def test_several_seeds_begin_at_the_same_model(service: Service, bert: str, table: Path) -> None:
    asked = {"model": bert, "task": own(table)}
    first = service.done(**asked, prune={"strategy": "top", "drop": 2}, recovery=RECOVERY)
    seeds = {"seeds": [1, 2], "latency": {"batch_sizes": [], "sequence_lengths": []}}
    for method in ("distill", "finetune"):
        job = service.done(**asked, prune="none", recovery=from_(first, method=method), evaluation=seeds)
        report = service.report(job)
        assert report.after.scores is not None
        assert list(report.after.scores.by_seed) == [1, 2]
        assert report.layers.kept == [0, 1, 2, 3]


# --- evaluation alone


@pytest.mark.usefixtures("believed")
def test_a_model_is_evaluated_and_not_delivered_again(service: Service, bert: str, table: Path) -> None:
    first = service.done(model=bert, task=own(table), prune={"strategy": "top", "drop": 3}, recovery=RECOVERY)
    job = service.done(model=f"job:{first.id}", task=own(table), prune="none")
    report, trained = service.report(job), service.report(first)
    assert report.after.score == trained.after.score, "its own head answers"
    assert report.before == report.after
    assert (report.retention, report.speedup, report.decision.outcome) == (None, None, None)
    assert report.verdict == f"evaluated: accuracy is {report.after.score:.2f}, and nothing was dropped"
    assert (report.verification.passed, report.verification.checks) == (None, [])
    assert "nothing was exported" in (report.verification.skipped or "")
    assert (report.layers.total, report.layers.dropped) == (3, [])
    assert service.files(job) == ["README.md", "SHA256SUMS", "report.json"]
    card = service.file(job, "README.md").decode()
    assert "from_pretrained" not in card
    assert "Verification: nothing was exported" in card
    skipped = ["baseline", "scoring", "pruning", "recovering", "exporting", "verifying"]
    assert service.stages(skipped=True) == skipped
    assert job.result is not None
    assert job.result.layers_dropped == []

    with pytest.raises(LayercutError, match="evaluated a model and delivered none") as caught:
        service.post({"model": f"job:{job.id}", "task": "none"})
    assert (caught.value.code, caught.value.param) == ("validation_failed", "/model")


@pytest.mark.usefixtures("believed")
def test_a_model_without_a_head_is_timed_without_a_task(service: Service, bert: str, table: Path) -> None:
    with pytest.raises(LayercutError, match="has no head for classification") as no:
        service.post({"model": bert, "task": own(table), "prune": "none"})
    assert (no.value.code, no.value.param) == ("validation_failed", "/model")
    alone = service.report(service.done(model=bert, task="none", prune="none"))
    assert alone.verdict == "not scored: there is no task to score it on"
    assert (alone.after.score, len(alone.after.latency)) == (None, 1)


# --- a model of its own


@pytest.mark.usefixtures("believed")
def test_what_a_job_delivered_is_a_model_of_its_own(service: Service, bert: str, table: Path) -> None:
    first = service.done(model=bert, task="none", prune={"strategy": "explicit", "drop_layers": [1]})
    asked = {"model": f"job:{first.id}", "task": own(table), "recovery": RECOVERY}
    job = service.done(**asked, prune={"drop": 1})
    report = service.report(job)
    assert (report.layers.total, report.layers.kept) == (5, [0, 1, 2, 3])
    assert report.model.id == f"job:{first.id}"
    folder = service.path(job, "")
    assert AutoModelForSequenceClassification.from_pretrained(folder).config.num_hidden_layers == 4
    more = service.done(**asked, prune={"drop": 2})
    assert "baseline" in [reused.kind for reused in service.report(more).reused]
    again = service.done(**{**asked, "prune": "none", "recovery": from_(job)})
    assert service.report(again).layers.kept == [0, 1, 2, 3]


# --- what is wrong when it is carried out


@pytest.mark.usefixtures("believed")
def test_a_file_that_was_changed_in_the_store_is_no_input(service: Service, bert: str) -> None:
    first = service.done(model=bert, task="none", prune={"strategy": "top", "drop": 1})
    asked = {"model": bert, "task": "none", "prune": {"drop": 1}, "recovery": {"from": f"job:{first.id}"}}
    for name in ("model.safetensors", "manifest.json"):
        path = service.path(first, name)
        content = path.read_bytes()
        job = service.post(asked)
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(LayercutError, match="changed or broken where it is kept") as caught:
            service.work()
        assert caught.value.code == "model_invalid"
        path.write_bytes(content)
        service.store.cancel(job.id)
    job = service.post(asked)
    service.path(first, "manifest.json").unlink()
    with pytest.raises(LayercutError, match=f"the files of {first.id} are gone") as caught:
        service.work()
    assert caught.value.code == "expired"


@pytest.mark.usefixtures("believed")
def test_weights_that_are_not_the_original_jobs_are_found_by_the_worker(
    service: Service, bert: str, table: Path
) -> None:
    first = service.done(model=bert, task=own(table), prune={"strategy": "top", "drop": 1}, recovery=RECOVERY)
    path = Path(bert) / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-4] + b"\0\0\0?")
    service.post({"model": bert, "task": own(table), "prune": {"drop": 1}, "recovery": from_(first)})
    with pytest.raises(LayercutError, match="not those that") as caught:
        service.work()
    assert (caught.value.code, caught.value.param) == ("validation_failed", "/model")
