"""The body of POST /v1/jobs: its defaults, its short forms, and every refusal."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from api_schemas.architectures import ModelFacts
from api_schemas.errors import LayercutError
from api_schemas.metrics import METRICS
from api_schemas.recovery import Recovery, RecoverySpec, resolve_recovery
from api_schemas.requests import JobRequest, PlanRequest
from api_schemas.strategies import STRATEGIES
from api_schemas.task_kinds import TASK_KINDS
from api_schemas.tasks import TASKS
from api_schemas.text_spec import TextSpec

CLASSES = TASK_KINDS["classification"]

OWN = {"dataset": "/data/tweets.csv", "text_columns": ["text"], "label_column": "label"}


def request(**body: Any) -> JobRequest:
    return JobRequest.model_validate({"model": "bert-base-uncased", "task": "sst2"} | body)


def refusal(**body: Any) -> LayercutError:
    with pytest.raises(LayercutError) as caught:
        request(**body)
    return caught.value


def test_a_model_and_a_task_are_enough() -> None:
    made = request()
    assert made.model.id == "bert-base-uncased"
    assert made.model.revision is None
    assert (made.task.name, made.prune.strategy, made.recovery.method) == ("sst2", "top", "auto")
    assert made.seed == 42
    assert made.limits.max_attempts == 3
    assert JobRequest.model_validate(made.model_dump()) == made, "what is echoed can be sent again"


@pytest.mark.parametrize("body", [{}, {"model": "x"}, {"task": "sst2"}])
def test_model_and_task_must_be_there(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="Field required"):
        JobRequest.model_validate(body)


@pytest.mark.parametrize(
    "body",
    [
        {"prun": {}},
        {"prune": {"drops": 2}},
        {"recovery": {"lr": 1e-5}},
        {"task": {"name": "sst2", "sort": "glue"}},
        {"model": {"id": "x", "branch": "main"}},
        {"evaluation": {"latency": {"lengths": [8]}}},
        {"export": {"kind": "onnx"}},
        {"limits": {"max": 1}},
    ],
)
def test_unknown_fields_are_refused_at_every_depth(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        request(**body)


@pytest.mark.parametrize(
    "body",
    [
        {"model": ""},
        {"model": "x" * 501},
        {"seed": -1},
        {"seed": 2**31},
        {"priority": 101},
        {"suffix": "a b"},
        {"suffix": "../x"},
        {"suffix": "x" * 65},
        {"metadata": {f"k{index}": "v" for index in range(17)}},
        {"metadata": {"k" * 65: "v"}},
        {"metadata": {"k": "v" * 513}},
        {"metadata": {"k": 1}},
        {"limits": {"max_runtime_seconds": 0}},
        {"limits": {"max_attempts": 11}},
        {"limits": {"max_queue_seconds": 0}},
        {"export": {"dtype": "int8"}},
        {"evaluation": {"latency": {"batch_sizes": [0]}}},
        {"evaluation": {"latency": {"sequence_lengths": [3]}}},
        {"task": OWN | {"max_train_rows": 0}},
    ],
)
def test_values_out_of_range_are_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        request(**body)


# --- tasks


@pytest.mark.parametrize("name", TASKS)
def test_every_glue_task_can_be_asked_for(name: str) -> None:
    task = request(task=name).task
    assert task.glue is TASKS[name]
    assert task.trains
    assert task.label == name
    assert task.headline is METRICS[TASKS[name].headline]
    assert task.decided_kind == TASKS[name].kind


def test_no_task_means_pruning_alone() -> None:
    task = request(task="none").task
    assert not task.trains
    assert task.glue is task.headline is None


def test_own_data_is_scored_by_accuracy_unless_asked_otherwise() -> None:
    task = request(task=OWN).task
    assert task.trains
    assert (task.label, task.headline) == ("tweets.csv", METRICS["accuracy"])
    assert request(task=OWN | {"metric": "pearson"}).task.headline is METRICS["pearson"]


@pytest.mark.parametrize(
    ("task", "code", "param", "words"),
    [
        ("sst-3", "unknown_task", "/task", "did you mean sst2"),
        ("imdb", "unknown_task", "/task", "imdb"),
        ({}, "validation_failed", "/task", "give name or dataset"),
        ({"name": "rte", **OWN}, "validation_failed", "/task", "give name or dataset"),
        ({"name": "rte", "metric": "f1"}, "validation_failed", "/task/metric", "has its own metric"),
        ({"name": "rte", "dev": "x"}, "validation_failed", "/task/dev", "has its own dev"),
        ({"name": "none", "text_columns": ["a"]}, "validation_failed", "/task/text_columns", "text_columns"),
        ({"dataset": "x.csv", "label_column": "y"}, "validation_failed", "/task/text_columns", "needs text_columns"),
        ({"dataset": "x.csv", "text_columns": ["a"]}, "validation_failed", "/task/label_column", "needs label_column"),
        (OWN | {"metric": "acuracy"}, "validation_failed", "/task/metric", "did you mean accuracy"),
    ],
)
def test_a_task_that_cannot_be_is_refused(task: Any, code: str, param: str, words: str) -> None:
    error = refusal(task=task)
    assert (error.code, error.param) == (code, param)
    assert words in error.message


def test_more_than_four_text_columns_are_refused() -> None:
    with pytest.raises(ValidationError):
        request(task=OWN | {"text_columns": ["a", "b", "c", "d", "e"]})


# --- parts that must fit each other


@pytest.mark.parametrize("strategy", [name for name, row in STRATEGIES.items() if not row.searches])
def test_without_a_task_only_strategies_that_need_data_are_refused(strategy: str) -> None:
    row = STRATEGIES[strategy]
    prune = {"strategy": strategy} | ({"drop_layers": [1]} if row.kind == "explicit" else {})
    if row.needs_data:
        error = refusal(task="none", prune=prune)
        assert (error.code, error.param) == ("validation_failed", "/prune/strategy")
        assert "task is 'none'" in error.message
        assert "prune.calibration.dataset" in error.message
        error = refusal(task="none", prune=prune | {"calibration": {"source": "task"}})
        assert error.param == "/prune/calibration/source"
        text = {"calibration": {"dataset": "/data/some.txt"}}
        assert request(task="none", prune=prune | text).prune.calibration.on_text
    else:
        assert request(task="none", prune=prune).prune.strategy == strategy


def test_taylor_wants_labels_and_a_head_that_has_learnt_them() -> None:
    error = refusal(task="sst2", prune={"strategy": "taylor", "calibration": {"dataset": "/data/some.txt"}})
    assert (error.param, "text has none" in error.message) == ("/prune/calibration", True)
    bare = {"recovery": {"method": "finetune"}, "evaluation": {"baseline": False}}
    error = refusal(task="sst2", prune={"strategy": "taylor"}, **bare)
    assert (error.param, "a head that has learnt" in error.message) == ("/evaluation/baseline", True)
    assert request(task="sst2", prune={"strategy": "angular", "calibration": {"dataset": "/data/some.txt"}}, **bare)


@pytest.mark.parametrize("method", ["finetune", "distill"])
def test_without_a_task_there_is_nothing_to_learn(method: str) -> None:
    error = refusal(task="none", recovery={"method": method})
    assert (error.code, error.param) == ("validation_failed", "/recovery/method")


@pytest.mark.parametrize("method", ["auto", "none"])
def test_without_a_task_recovery_may_be_left_out(method: str) -> None:
    assert request(task="none", recovery={"method": method}).recovery.method == method


def test_distilling_without_a_baseline_is_refused() -> None:
    error = refusal(recovery={"method": "distill"}, evaluation={"baseline": False})
    assert (error.code, error.param) == ("validation_failed", "/evaluation/baseline")
    assert request(recovery={"method": "finetune"}, evaluation={"baseline": False}).evaluation.baseline is False


def test_an_unknown_strategy_is_refused_in_jobs_and_plans() -> None:
    assert refusal(prune={"strategy": "simetric"}).code == "unknown_strategy"
    with pytest.raises(LayercutError, match="did you mean symmetric"):
        PlanRequest.model_validate({"model": "x", "prune": {"strategy": "simetric"}})


@pytest.mark.parametrize(
    ("text", "path"), [("/m/bert", True), ("./m", True), ("../m", True), ("~/m", True), ("a/b", False)]
)
def test_a_path_is_told_from_a_hub_id(text: str, path: bool) -> None:
    assert request(model=text).model.is_path is path


# --- recovery


def facts(**changed: Any) -> ModelFacts:
    return ModelFacts.model_validate(
        {"id": "x", "architecture": "bert", "layers": 12, "hidden_size": 768, "max_positions": 512} | changed
    )


def test_every_auto_is_filled_in() -> None:
    made = resolve_recovery(RecoverySpec(), facts(), kind=CLASSES)
    assert made.method == "distill"
    assert (made.epochs, made.batch_size, made.max_length) == (3.0, "auto", 128)
    assert made.baseline_learning_rate == pytest.approx(2e-5)
    assert made.learning_rate == pytest.approx(3e-5)
    assert (made.warmup_ratio, made.weight_decay) == (0.0, 0.0)
    open_fields = {name for name, value in made.model_dump().items() if value == "auto"}
    assert open_fields <= {"precision", "batch_size"}
    assert resolve_recovery(RecoverySpec(), facts(), kind=None).method == "none"


ASKED = {
    "method": "finetune",
    "epochs": 1.5,
    "learning_rate": 1e-4,
    "batch_size": 8,
    "max_length": 64,
    "warmup_ratio": 0.1,
    "weight_decay": 0.01,
    "precision": "bf16",
    "temperature": 4.0,
    "label_weight": 0.5,
    "hidden_weight": 3.0,
    "noise": 0.3,
    "effort": "high",
    "text": TextSpec(dataset="/data/a.txt"),
    "vector_loss": "squared",
    "checkpoint": "best",
    "dropout": True,
    "baseline_epochs": 1.0,
    "baseline_batch_size": 4,
    "baseline_learning_rate": 5e-5,
}


@pytest.mark.parametrize("field", Recovery.model_fields)
def test_what_is_asked_for_is_what_is_used(field: str) -> None:
    spec = RecoverySpec.model_validate({field: ASKED[field]})
    assert getattr(resolve_recovery(spec, facts(), kind=CLASSES), field) == ASKED[field]


def test_a_distillation_has_a_rate_of_its_own_and_a_fine_tuning_one_like_itself() -> None:
    """So distillations at several rates share the baseline, and a fine-tuned model is compared with its equal."""
    asked = {"epochs": 9.0, "learning_rate": 7e-4}
    distilled = resolve_recovery(RecoverySpec.model_validate({"method": "distill", **asked}), facts(), kind=CLASSES)
    assert (distilled.of_baseline().epochs, distilled.of_baseline().learning_rate) == (9.0, 2e-5)
    assert (distilled.dropout, distilled.of_baseline().dropout) == (False, True)
    tuned = resolve_recovery(RecoverySpec.model_validate({"method": "finetune", **asked}), facts(), kind=CLASSES)
    assert tuned.of_baseline() == tuned
    assert (tuned.epochs, tuned.dropout) == (9.0, True)


@pytest.mark.parametrize(
    ("rows", "epochs", "batch"),
    [(67_000, 3, 32), (7_500, 3, 32), (7_400, 3, 16), (3_800, 3, 16), (3_668, 3, 8), (100, 3, 8), (3_668, 9, 32)],
)
def test_small_data_is_distilled_in_small_batches(rows: int, epochs: float, batch: int) -> None:
    made = resolve_recovery(RecoverySpec(epochs=epochs), facts(), kind=CLASSES)
    assert made.batch_of(rows) == batch
    assert made.of_baseline().batch_of(rows) == 32


@pytest.mark.parametrize("kind", ["multi-label", "token-classification"])
@pytest.mark.parametrize(("rows", "batch"), [(500, 8), (5_000, 16), (67_000, 32)])
def test_few_label_sets_or_tags_are_learnt_in_more_steps(kind: str, rows: int, batch: int) -> None:
    made = resolve_recovery(RecoverySpec(), facts(), kind=TASK_KINDS[kind])
    assert made.of_baseline().batch_of(rows) == batch
    tuned = resolve_recovery(RecoverySpec(method="finetune"), facts(), kind=TASK_KINDS[kind])
    assert (tuned.batch_of(rows), tuned.of_baseline()) == (batch, tuned)
    asked = resolve_recovery(RecoverySpec(batch_size=5), facts(), kind=TASK_KINDS[kind])
    assert asked.of_baseline().batch_of(rows) == 5


def test_a_batch_that_is_asked_for_is_the_baselines_as_well() -> None:
    for method in ("distill", "finetune"):
        made = resolve_recovery(RecoverySpec(method=method, batch_size=5), facts(), kind=CLASSES)
        assert (made.batch_of(10), made.of_baseline().batch_of(10)) == (5, 5)
    assert resolve_recovery(RecoverySpec(method="finetune"), facts(), kind=CLASSES).batch_of(10) == 32


def test_narrow_and_shallow_models_learn_faster_within_bounds() -> None:
    shapes = ((32, 2), (384, 3), (384, 6), (384, 12), (768, 6), (768, 12), (1024, 24), (8192, 80))
    rates = [
        resolve_recovery(RecoverySpec(), facts(hidden_size=width, layers=layers), kind=CLASSES).baseline_learning_rate
        for width, layers in shapes
    ]
    assert rates == [3e-4, 3e-4, 1.6e-4, 8e-5, 4e-5, 2e-5, 1e-5, 1e-5]


def test_texts_are_no_longer_than_the_model_takes() -> None:
    assert resolve_recovery(RecoverySpec(), facts(max_positions=40), kind=CLASSES).max_length == 40
    assert resolve_recovery(RecoverySpec(), facts(max_positions=None), kind=CLASSES).max_length == 128


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "retrain"},
        {"epochs": 0},
        {"epochs": "three"},
        {"learning_rate": 0},
        {"learning_rate": 1},
        {"batch_size": 0},
        {"max_length": 3},
        {"warmup_ratio": 1},
        {"weight_decay": -0.1},
        {"precision": "int8"},
        {"temperature": 0},
        {"label_weight": 1.1},
        {"hidden_weight": -1},
        {"noise": 1},
        {"checkpoint": "first"},
        {"dropout": "sometimes"},
        {"baseline_epochs": 0},
        {"baseline_learning_rate": 1},
    ],
)
def test_recoveries_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        request(recovery=wrong)
