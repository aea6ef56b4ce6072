"""What a task, its pruning, its recovery and its model must be to each other: jobs and plans are refused alike."""

from __future__ import annotations

from typing import Any

import pytest
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
    MODEL_MAPPING_NAMES,
)

from api_schemas.architectures import ARCHITECTURES, ModelFacts
from api_schemas.errors import LayercutError
from api_schemas.recovery import RecoverySpec, resolve_recovery
from api_schemas.requests import JobRequest, PlanRequest
from api_schemas.task_kinds import TASK_KINDS

STOCK = {
    "AutoModel": MODEL_MAPPING_NAMES,
    "AutoModelForSequenceClassification": MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    "AutoModelForTokenClassification": MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
}
OWN = {"dataset": "/d/a.csv", "text_columns": ["text"], "label_column": "label"}
TEXTS = {"dataset": "/d/a.txt", "kind": "embedding"}
TEXT = {"dataset": "/d/more.txt"}


def facts(**changed: Any) -> ModelFacts:
    known = {"id": "x", "architecture": "bert", "layers": 12, "hidden_size": 768, "max_positions": 512}
    return ModelFacts.model_validate({**known, "modules": ["Transformer", "Pooling"], **changed})


def refused(body: dict[str, Any], model: ModelFacts | None = None) -> LayercutError:
    """Alike as a job and as a plan."""
    found = []
    for form in (JobRequest, PlanRequest):
        with pytest.raises(LayercutError) as caught:
            form.model_validate({"model": "x", **body}).check_model(model or facts())
        found.append(caught.value)
    job, plan = found
    assert (job.code, job.message, job.param) == (plan.code, plan.message, plan.param)
    return job


@pytest.mark.parametrize("family", ARCHITECTURES)
@pytest.mark.parametrize("kind", TASK_KINDS)
def test_a_family_is_trained_for_what_stock_transformers_has_a_class_for(family: str, kind: str) -> None:
    task = TEXTS if kind == "embedding" else {**OWN, "kind": kind}
    asked = JobRequest.model_validate({"model": "x", "task": task})
    two = ARCHITECTURES[family].kind == "encoder-decoder"
    if not two and family in STOCK[TASK_KINDS[kind].auto_class]:
        asked.check_model(facts(architecture=family))
        return
    error = refused({"task": task}, facts(architecture=family))
    assert (error.code, error.param) == ("unsupported_architecture", "/task" if two else "/task/kind")


@pytest.mark.parametrize(
    ("kind", "classes", "fits"),
    [
        ("classification", ["BertForSequenceClassification"], True),
        ("multi-label", ["BertForSequenceClassification"], True),
        ("token-classification", ["BertForTokenClassification"], True),
        ("token-classification", ["BertForSequenceClassification"], False),
        ("classification", ["BertModel", "BertForSequenceClassification"], False),
        ("regression", [], False),
    ],
)
def test_what_is_evaluated_has_a_head_for_its_task(kind: str, classes: list[str], fits: bool) -> None:
    body = {"task": {**OWN, "kind": kind}, "prune": "none"}
    if fits:
        JobRequest.model_validate({"model": "x", **body}).check_model(facts(classes=classes))
        return
    error = refused(body, facts(classes=classes))
    assert (error.code, error.param) == ("validation_failed", "/model")
    assert f"give a model that is a …{TASK_KINDS[kind].auto_class.removeprefix('AutoModel')}" in error.message


def test_an_embedding_model_is_evaluated_without_a_head() -> None:
    JobRequest.model_validate({"model": "x", "task": TEXTS, "prune": "none"}).check_model(facts(classes=["BertModel"]))


# --- the strategy of a kind


@pytest.mark.parametrize("prune", [{"calibration": {"rows": 100}}, {"threshold": 0.9}, {}])
def test_an_amount_is_held_against_the_strategy_of_the_kind(prune: dict[str, Any]) -> None:
    for form in (JobRequest, PlanRequest):
        asked = form.model_validate({"model": "x", "task": TEXTS, "prune": prune}).prune
        assert asked.strategy == "contribution"
        assert asked.model_dump(exclude_unset=True) == {"strategy": "contribution", **prune}
    if prune:
        assert "strategy 'top'" in refused({"task": "sst2", "prune": prune}).message


@pytest.mark.parametrize("task", [TEXTS, "sst2", "none"])
@pytest.mark.parametrize(
    ("prune", "param"),
    [({"drop": 1, "drop_ratio": 0.5}, "/prune"), ({"drop_layers": [1]}, "/prune/drop_layers"),
     ({"objective": {"drop": 1}}, "/prune/objective")],
)  # fmt: skip
def test_an_amount_that_suits_no_default_is_refused_of_every_task(task: Any, prune: Any, param: str) -> None:
    assert refused({"task": task, "prune": prune}).param == param


# --- recovery


@pytest.mark.parametrize(
    ("task", "recovery", "param"),
    [
        ("sst2", {"method": "finetune", "effort": "high"}, "/recovery/effort"),
        ("sst2", {"method": "none", "effort": "quick"}, "/recovery/effort"),
        ("sst2", {"vector_loss": "squared"}, "/recovery/vector_loss"),
        ("sst2", {"label_weight": 1, "text": TEXT}, "/recovery/label_weight"),
        ("sst2", {"method": "finetune", "text": TEXT}, "/recovery/text"),
        ("mrpc", {"text": {**TEXT, "columns": ["a"]}}, "/recovery/text/columns"),
        (TEXTS, {"method": "finetune"}, "/recovery/method"),
        (TEXTS, {"temperature": 2.0}, "/recovery/temperature"),
        (TEXTS, {"label_weight": 0.5}, "/recovery/label_weight"),
        (TEXTS, {"text": TEXT}, "/recovery/text"),
        ("sst2", {"max_length": 1000}, "/recovery/max_length"),
    ],
)
def test_what_a_recovery_has_no_use_for_is_refused(task: Any, recovery: dict[str, Any], param: str) -> None:
    error = refused({"task": task, "recovery": recovery})
    assert (error.code, error.param) == ("validation_failed", param)


def test_an_evaluation_has_no_effort() -> None:
    error = refused({"task": "sst2", "prune": "none", "recovery": {"effort": "high"}})
    assert (error.param, "nothing is distilled" in error.message) == ("/recovery/effort", True)


def test_without_modules_no_pooling_is_known() -> None:
    error = refused({"task": TEXTS}, facts(modules=None))
    assert (error.code, error.param) == ("model_invalid", "/model")
    assert "the pooling" in error.message


@pytest.mark.parametrize(
    "body",
    [
        {"recovery": {"effort": "high"}},
        {"recovery": {"text": TEXT}},
        {"recovery": {"method": "finetune"}},
        {"prune": {"strategy": "auto", "drop": 2}},
        {"prune": "greedy"},
    ],
)
def test_a_plan_is_made_without_the_task_that_a_job_will_have(body: dict[str, Any]) -> None:
    asked = PlanRequest.model_validate({"model": "x", **body})
    asked.check_model(facts(modules=None))
    assert not asked.task.trains


@pytest.mark.parametrize("prune", [{"strategy": "taylor", "calibration": {"dataset": "/d/a.txt"}}, "auto"])
def test_a_plan_with_a_task_is_held_to_its_strategy_as_a_job_is(prune: Any) -> None:
    refused({"task": "sst2", "prune": prune, "recovery": {"method": "finetune"}})


@pytest.mark.parametrize("effort", ["auto", "quick", "standard", "high"])
def test_epochs_that_are_given_are_the_baselines_whatever_the_effort(effort: Any) -> None:
    for more, of_baseline in (({}, 5.0), ({"baseline_epochs": 2.0}, 2.0)):
        spec = RecoverySpec.model_validate({"effort": effort, "epochs": 5.0, **more})
        made = resolve_recovery(spec, facts(), kind=TASK_KINDS["classification"])
        assert (made.epochs, made.baseline_epochs) == (5.0, of_baseline)


@pytest.mark.parametrize(("effort", "epochs"), [("quick", 1.0), ("standard", 3.0), ("high", 15.0)])
def test_an_effort_decides_the_epochs_that_are_not_given(effort: Any, epochs: float) -> None:
    made = resolve_recovery(RecoverySpec(effort=effort), facts(), kind=TASK_KINDS["classification"])
    assert (made.epochs, made.baseline_epochs) == (epochs, 3.0)


# --- pairs


@pytest.mark.parametrize(
    ("task", "param", "words"),
    [
        ({**TEXTS, "pairs": {"name": "stsb", "text_columns": ["a", "b"]}}, "/task/pairs/text_columns", "their own"),
        ({**TEXTS, "pairs": {"name": "stsb", "label_column": "c"}}, "/task/pairs/label_column", "own label_column"),
        ({**TEXTS, "pairs": {"name": "stsb", "read": {"delimiter": ";"}}}, "/task/pairs/read", "have their own read"),
        ({"dataset": "/d/a.txt", "pairs": "stsb"}, "/task/pairs", "this is a classification; give kind 'embedding'"),
        ({"dataset": "/d/a.txt", "pairs": "stsb", "metric": "spearman"}, "/task/pairs", "give kind 'embedding'"),
        ({**OWN, "kind": "regression", "pairs": "stsb"}, "/task/pairs", "this is a regression"),
        ({**TEXTS, "text_columns": ["a", "b"]}, "/task/text_columns", "reads 1 text column, and 2 are given"),
        ({**TEXTS, "metric": "cosine_p5"}, "/task/metric", "which has: cosine, spearman"),
    ],
)  # fmt: skip
def test_pairs_and_vectors_that_cannot_be(task: Any, param: str, words: str) -> None:
    error = refused({"task": task})
    assert (error.code, error.param) == ("validation_failed", param)
    assert words in error.message


def test_pairs_are_a_glue_task_or_a_table() -> None:
    for pairs in ("stsb", {"name": "stsb"}, {"dataset": "/d/p.csv", "text_columns": ["a", "b"], "label_column": "c"}):
        assert JobRequest.model_validate({"model": "x", "task": {**TEXTS, "pairs": pairs}}).task.pairs
