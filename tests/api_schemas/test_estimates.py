"""What a job will take grows with what is asked for, and follows what a device was measured to do."""

from __future__ import annotations

from typing import Any

import pytest

from api_schemas.architectures import ModelFacts
from api_schemas.data_size import BYTES_PER_TOKEN, DataSize, SplitSize
from api_schemas.delivered import Start
from api_schemas.estimates import Estimate, estimate
from api_schemas.jobs import Stage
from api_schemas.requests import JobRequest
from api_schemas.resolved import resolve
from api_schemas.speeds import Overhead, Rate, Speed, Speeds
from api_schemas.stage_work import Asked

DEVICE = Speed(device="cpu", speeds=Speeds(precision="fp32", matmul=1e11))


def facts(layers: int = 12, **changed: Any) -> ModelFacts:
    return ModelFacts(
        id="a/b", architecture="bert", layers=layers, hidden_size=768, vocabulary=30522, max_positions=512,
        parameters=23_837_184 + layers * 7_087_872, parameters_per_layer=[7_087_872] * layers,
        bytes=4 * (23_837_184 + layers * 7_087_872),
    ).model_copy(update=changed)  # fmt: skip


def sizes(rows: int = 2000, length: int = 120) -> DataSize:
    return DataSize(SplitSize(rows, [length], 2), SplitSize(400, [length], 2))


def took(
    data: DataSize | None = None,
    model: ModelFacts | None = None,
    speed: Speed = DEVICE,
    start: Start | None = None,
    **asked: Any,
) -> Estimate:
    request = JobRequest.model_validate({"model": "a/b", "task": "mrpc", **asked})
    resolved = resolve(request, model or facts(), start=start)
    assert resolved.plan is not None
    assert resolved.recovery is not None
    what = Asked(
        resolved.plan.model, resolved.task, resolved.prune, resolved.recovery, resolved.evaluation, resolved.plan,
        resolved.start,
    )  # fmt: skip
    return estimate(what, (data or sizes()) if request.task.trains else None, speed)


def seconds(found: Estimate, stage: Stage) -> float:
    return next((one.seconds for one in found.stages if one.stage == stage), 0.0)


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"data": sizes(rows=1000)}, {"data": sizes(rows=4000)}),
        ({"data": sizes(length=60)}, {"data": sizes(length=240)}),
        ({"model": facts(6)}, {"model": facts(12)}),
        ({"recovery": {"epochs": 1}}, {"recovery": {"epochs": 3}}),
        ({"recovery": {"effort": "quick"}}, {"recovery": {"effort": "standard"}}),
        ({"recovery": {"effort": "standard"}}, {"recovery": {"effort": "high"}}),
        ({"recovery": {"method": "finetune"}, "evaluation": {"baseline": False}}, {"recovery": {"method": "finetune"}}),
        ({"recovery": {"noise": 0, "hidden_weight": 0}}, {}),
        ({}, {"evaluation": {"seeds": [1, 2, 3]}}),
        ({"prune": {"drop": 6}}, {"prune": {"drop": 2}}),
        ({"prune": {"strategy": "top", "drop": 2}}, {"prune": {"strategy": "greedy", "drop": 2}}),
        ({"prune": {"strategy": "top", "drop": 2}}, {"prune": {"strategy": "auto", "drop": 2}}),
        (
            {"prune": {"strategy": "auto", "drop": 2}},
            {"prune": {"strategy": "auto", "objective": {"min_retention": 0.9}}},
        ),
    ],
)
def test_what_asks_for_more_takes_longer(less: dict[str, Any], more: dict[str, Any]) -> None:
    assert took(**less).minutes < took(**more).minutes


def test_rows_and_epochs_count_in_proportion() -> None:
    one, four = (took(sizes(rows)) for rows in (10_000, 40_000))
    assert seconds(four, Stage.RECOVERING) == pytest.approx(4 * seconds(one, Stage.RECOVERING), rel=0.1)
    assert four.tokens == pytest.approx(4 * one.tokens, rel=0.01)


def test_tokens_are_those_of_all_trainings_in_all_epochs() -> None:
    found = took(sizes(rows=1000, length=round(27 * BYTES_PER_TOKEN)))
    assert found.tokens == pytest.approx(2 * 3 * 1000 * 30, rel=0.01), "27 of text and 3 special ones, 3 epochs, twice"
    assert took(sizes(rows=1000, length=10**6)).tokens == 2 * 3 * 1000 * 128, "texts are cut at max_length"


def test_pruning_alone_is_over_in_a_minute_and_trains_on_nothing() -> None:
    found = took(task="none", evaluation={"latency": {"batch_sizes": []}})
    assert found.minutes < 1
    assert found.tokens == 0
    assert found.memory_bytes < took().memory_bytes
    assert {one.stage for one in found.stages}.isdisjoint({Stage.BASELINE, Stage.RECOVERING, Stage.EVALUATING})


def test_where_another_job_made_the_baseline_it_takes_less() -> None:
    found = took()
    assert found.minutes_with_baseline is not None
    saved = 60 * (found.minutes - found.minutes_with_baseline)
    assert saved == pytest.approx(seconds(found, Stage.BASELINE), rel=0.05)
    assert took(task="none").minutes_with_baseline is None


def test_text_without_labels_is_learnt_from_by_the_recovery_alone() -> None:
    labelled, rows = sizes(), SplitSize(50_000, [120], 2)
    more = took(DataSize(labelled.train, labelled.dev, rows))
    assert seconds(more, Stage.RECOVERING) > 10 * seconds(took(labelled), Stage.RECOVERING)
    assert seconds(more, Stage.BASELINE) == seconds(took(labelled), Stage.BASELINE)


def test_an_embedding_model_is_its_own_teacher() -> None:
    task = {"dataset": "/d/texts.txt", "kind": "embedding"}
    found = took(task=task, model=facts(modules=["Transformer", "Pooling"]))
    assert seconds(found, Stage.BASELINE) == 0
    assert seconds(found, Stage.RECOVERING) > 0


def test_jobs_of_the_device_go_before_matrices_and_these_before_a_table() -> None:
    measured = Speeds(
        precision="fp32",
        matmul=1e11,
        rates=[
            Rate(kind="training", precision="fp32", width=768, flops=2e10, jobs=4),
            Rate(kind="training", precision="fp32", width=64, flops=1e9, jobs=9),
        ],
        overheads=[Overhead(stage=Stage.VERIFYING, ratio=3.0, jobs=4)],
    )
    known, probed, unknown = (
        took(speed=Speed(device="cpu", speeds=speeds)) for speeds in (measured, DEVICE.speeds, None)
    )
    assert [one.basis for one in (known, probed, unknown)] == ["jobs", "probe", "guess"]
    assert known.measured_jobs == 4, "of those that it goes by"
    assert seconds(known, Stage.VERIFYING) == pytest.approx(3 * seconds(probed, Stage.VERIFYING), rel=0.01)
    rate = (known.tokens / 2) * 6 * 12 * 7_087_872 / seconds(known, Stage.BASELINE)
    assert rate == pytest.approx(2e10, rel=0.15), "the rate of models of this width"


def test_a_device_twice_as_fast_trains_in_half_the_time() -> None:
    slow, fast = (
        took(speed=Speed(device="cuda", name="X", speeds=Speeds(precision="bf16", rates=[rate])))
        for rate in (
            Rate(kind="training", precision="bf16", width=768, flops=1e12, jobs=1),
            Rate(kind="training", precision="bf16", width=768, flops=2e12, jobs=1),
        )
    )
    assert seconds(fast, Stage.RECOVERING) == pytest.approx(seconds(slow, Stage.RECOVERING) / 2, rel=0.2)


def test_memory_grows_with_batch_and_model() -> None:
    small, large = (took(recovery={"batch_size": size}).memory_bytes for size in (8, 64))
    assert small < large
    assert took(model=facts(6)).memory_bytes < took(model=facts(12)).memory_bytes
    assert took().memory_bytes > 16 * 100_000_000, "weights, gradients and two moments of a BERT-base"


def test_what_only_a_measurement_can_tell_is_said() -> None:
    assert took().notes == []
    (note,) = took(prune={"strategy": "auto", "objective": {"min_retention": 0.9}}).notes
    assert "a third" in note


ENCODER_DECODER = facts(12, architecture="t5", stacks={"encoder": 6, "decoder": 6})


@pytest.mark.parametrize("drop", [{"encoder": 2}, {"decoder": 2}, {"encoder": 1, "decoder": 1}])
def test_layers_that_a_measurement_chooses_are_counted_of_each_stack(drop: dict[str, int]) -> None:
    asked = {"task": "none", "model": ENCODER_DECODER, "evaluation": {"latency": {"batch_sizes": []}}}
    chosen = took(**asked, prune={"strategy": "parameter_variance", "drop": drop})
    named = took(**asked, prune={"strategy": "explicit", "drop_layers": {"encoder": [1, 2]}})
    assert seconds(chosen, Stage.EXPORTING) == seconds(named, Stage.EXPORTING)


def started(left: int) -> Start:
    """Where an earlier job has left that many layers of ``facts()``."""
    return Start(
        job="job_000000000000000000000000", artifact="jobs/x", manifest="0" * 64, sha256="0" * 64,
        model=facts(left), total=12, kept=list(range(0, 12, 12 // left)),
    )  # fmt: skip


def test_what_goes_on_from_an_earlier_job_is_counted_in_what_that_left() -> None:
    asked: dict[str, Any] = {"recovery": {"from": "job:job_000000000000000000000000"}}
    open_, known = (
        took(start=started(6), prune={"strategy": strategy, "drop": 2}, **asked) for strategy in ("contribution", "top")
    )
    assert seconds(open_, Stage.RECOVERING) == seconds(known, Stage.RECOVERING), "4 layers, whichever these are"
    for strategy in ("contribution", "greedy"):
        late, early = (took(start=started(left), prune={"strategy": strategy, "drop": 2}, **asked) for left in (6, 12))
        assert seconds(late, Stage.SCORING) < 0.7 * seconds(early, Stage.SCORING)
    protected = took(start=started(6), prune={"strategy": "greedy", "drop": 2, "protect_layers": [0, 10]}, **asked)
    assert protected.minutes > 0


def test_a_model_that_is_only_evaluated_is_one_model_and_no_export() -> None:
    with_head = facts().model_copy(update={"classes": ["BertForSequenceClassification"], "num_labels": 2})
    evaluated = took(model=with_head, prune="none")
    pruned = took(model=with_head, prune="top", recovery={"method": "none"})
    told = {one.stage for one in evaluated.stages}
    assert told.isdisjoint({Stage.PRUNING, Stage.EXPORTING, Stage.VERIFYING, Stage.RECOVERING})
    assert {Stage.EVALUATING, Stage.BENCHMARKING} <= told
    assert evaluated.memory_bytes < pruned.memory_bytes
    for stage in (Stage.EVALUATING, Stage.BENCHMARKING, Stage.PUBLISHING):
        assert seconds(evaluated, stage) < seconds(pruned, stage)
