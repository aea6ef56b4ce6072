"""The request with every default decided: what is pinned, what stays open, what is no longer the model."""

from __future__ import annotations

from typing import Any

import pytest

from api_schemas.architectures import ModelFacts
from api_schemas.errors import LayercutError
from api_schemas.requests import JobRequest
from api_schemas.resolved import ResolvedRequest, check_pinned, resolve

FACTS = ModelFacts(
    id="acme/bert", revision="c" * 40, architecture="bert", classes=["BertModel"], layers=6, hidden_size=384,
    vocabulary=100, max_positions=512, parameters=700, parameters_per_layer=[100] * 6, bytes=2800, dtype="F32",
    license="mit",
)  # fmt: skip


def asked(**more: Any) -> JobRequest:
    return JobRequest.model_validate({"model": "acme/bert", "task": "sst2", "prune": {"drop": 2}, **more})


def test_commit_plan_and_recovery_are_pinned() -> None:
    found = resolve(asked(), FACTS)
    assert found.model.revision == FACTS.revision
    assert found.plan is not None
    assert (found.plan.kept, found.plan.dropped) == ([0, 1, 2, 3], [4, 5])
    assert found.plan.parameters_after == 500
    assert found.recovery is not None
    assert (found.recovery.method, found.recovery.batch_size, found.recovery.precision) == ("distill", "auto", "auto")
    assert (found.seeds, found.evaluation.seeds) == ([42], [42])


def test_without_the_model_what_hangs_on_it_stays_open() -> None:
    found = resolve(asked(evaluation={"seeds": [3, 1]}), None)
    assert (found.model.revision, found.plan, found.recovery) == (None, None, None)
    assert found.seeds == [3, 1]


@pytest.mark.parametrize("task", ["sst2", "none"])
def test_texts_longer_than_the_model_reads_are_refused_with_both_numbers(task: str) -> None:
    with pytest.raises(LayercutError, match="max_length is 513 tokens, and the model reads 512 at most") as caught:
        resolve(asked(task=task, recovery={"max_length": 513}), FACTS)
    assert (caught.value.code, caught.value.param) == ("validation_failed", "/recovery/max_length")
    for model, length in ((FACTS, 512), (FACTS.model_copy(update={"max_positions": None}), 513)):
        found = resolve(asked(task=task, recovery={"max_length": length}), model).recovery
        assert found is not None
        assert found.max_length == length


@pytest.mark.parametrize("prune", [{"drop": 2}, {"strategy": "angular"}, {"strategy": "auto", "drop": 1}])
def test_it_comes_back_from_json_as_it_was(prune: dict[str, Any]) -> None:
    found = resolve(asked(prune=prune), FACTS)
    assert ResolvedRequest.model_validate_json(found.model_dump_json()) == found
    # As a job file has it, without what was left to its default.
    assert ResolvedRequest.model_validate_json(found.model_dump_json(exclude_unset=True)) == found


@pytest.mark.parametrize(
    ("prune", "code", "param"),
    [
        ({"drop": 6}, "invalid_layers", "/prune/drop"),
        ({"target_params": 10}, "validation_failed", "/prune/target_params"),
    ],
)
def test_what_cannot_work_on_the_model_is_refused(prune: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(LayercutError) as caught:
        resolve(asked(prune=prune), FACTS)
    assert (caught.value.code, caught.value.param) == (code, param)


@pytest.mark.parametrize(
    ("field", "value"), [("layers", 12), ("revision", "d" * 40), ("bytes", 2801), ("dtype", "F16")]
)
def test_a_model_that_changed_is_not_the_one_that_was_planned_for(field: str, value: Any) -> None:
    plan = resolve(asked(), FACTS).plan
    assert plan is not None
    with pytest.raises(LayercutError, match=f"the model changed after the job was accepted: {field} was") as caught:
        check_pinned(plan, FACTS.model_copy(update={field: value}))
    assert caught.value.code == "model_invalid"


def test_what_was_not_known_then_is_no_change() -> None:
    vague = FACTS.model_copy(update={"parameters": None, "parameters_per_layer": None, "bytes": None, "dtype": None})
    plan = resolve(asked(), vague).plan
    assert plan is not None
    check_pinned(plan, FACTS.model_copy(update={"license": None}))
