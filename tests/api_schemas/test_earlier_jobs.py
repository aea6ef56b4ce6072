"""Jobs that go on from earlier ones, and jobs that drop nothing: what may be asked, and how plans number layers."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from api_schemas.architectures import ModelFacts
from api_schemas.delivered import Start
from api_schemas.errors import LayercutError
from api_schemas.further import plan_job
from api_schemas.plans import Plan
from api_schemas.pruning import PruneSpec
from api_schemas.requests import JobRequest, PlanRequest
from api_schemas.resolved import resolve

JOB = "job_0123456789abcdefghjkmnpq"
FROM = {"recovery": {"from": f"job:{JOB}"}}
LAYER = 1_000


def request(**body: Any) -> JobRequest:
    return JobRequest.model_validate({"model": "acme/bert", "task": "sst2"} | body)


def refusal(**body: Any) -> LayercutError:
    with pytest.raises(LayercutError) as caught:
        request(**body)
    return caught.value


def facts(layers: int, **more: Any) -> ModelFacts:
    known = {
        "id": "acme/bert", "architecture": "bert", "layers": layers, "hidden_size": 768,
        "parameters": 4_000 + layers * LAYER, "parameters_per_layer": [LAYER] * layers,
        "bytes": 4 * (4_000 + layers * LAYER),
    }  # fmt: skip
    return ModelFacts.model_validate(known | more)


def start(*kept: int, total: int = 12, **more: Any) -> Start:
    pins = {"job": JOB, "artifact": f"jobs/{JOB}/attempts/1-a", "manifest": "a" * 64, "sha256": "b" * 64}
    return Start(**pins, total=total, kept=list(kept), model=facts(len(kept), **more))


EIGHT = start(0, 1, 2, 3, 6, 7, 8, 11)


def plan(spec: Any, begin: Start = EIGHT, **given: Any) -> Plan:
    return plan_job(PruneSpec.model_validate(spec), facts(begin.total), begin, **{"seed": 42} | given)


def not_planned(spec: Any, begin: Start = EIGHT, **given: Any) -> LayercutError:
    with pytest.raises(LayercutError) as caught:
        plan(spec, begin, **given)
    return caught.value


# --- what may be asked


def test_the_strategy_alone_may_be_sent_as_a_string() -> None:
    assert request(prune="none").prune == PruneSpec(strategy="none")
    assert request(prune="bottom").prune == PruneSpec(strategy="bottom")
    assert refusal(prune="botom").code == "unknown_strategy"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"drop": 1}, "/prune/drop"),
        ({"drop_ratio": 0.5}, "/prune/drop_ratio"),
        ({"drop_layers": [1]}, "/prune/drop_layers"),
        ({"target_params": 100}, "/prune/target_params"),
        ({"threshold": 0.5}, "/prune/threshold"),
        ({"objective": {"min_retention": 0.9}}, "/prune/objective"),
        ({"protect_layers": [0]}, "/prune/protect_layers"),
        ({"calibration": {"rows": 9}}, "/prune/calibration"),
    ],
)
@pytest.mark.parametrize("more_of_request", [{}, FROM])
def test_what_drops_nothing_takes_no_word_on_what_is_to_go(
    more: dict[str, Any], param: str, more_of_request: dict[str, Any]
) -> None:
    error = refusal(prune={"strategy": "none", **more}, **more_of_request)
    assert (error.code, error.param) == ("validation_failed", param)


@pytest.mark.parametrize("task", ["sst2", "none"])
@pytest.mark.parametrize("method", ["auto", "none"])
def test_without_an_earlier_job_nothing_dropped_means_to_evaluate(task: str, method: str) -> None:
    made = request(task=task, prune="none", recovery={"method": method})
    assert (made.recovery.method, made.trains, made.evaluates_only) == ("none", False, True)
    decided = resolve(made, facts(12, classes=["BertForSequenceClassification"]))
    assert decided.recovery is not None
    assert decided.plan is not None
    assert (decided.recovery.method, decided.evaluates_only) == ("none", True)
    assert (decided.plan.dropped, decided.plan.kept, decided.plan.expected_speedup) == ([], list(range(12)), 1.0)
    assert decided.plan.parameters_after == decided.plan.parameters_before


@pytest.mark.parametrize("method", ["finetune", "distill"])
def test_there_is_nothing_to_mend_where_nothing_was_dropped(method: str) -> None:
    error = refusal(prune="none", recovery={"method": method})
    assert (error.param, "recovery.from" in error.message) == ("/recovery/method", True)


def test_of_an_evaluation_nothing_is_exported() -> None:
    assert refusal(prune="none", export={"dtype": "float16"}).param == "/export/dtype"
    assert refusal(prune="none", evaluation={"seeds": [1, 2]}).param == "/evaluation/seeds"


def test_an_earlier_jobs_result_is_recovered_again() -> None:
    made = request(prune="none", recovery={"from": f"job:{JOB}", "effort": "high"})
    assert (made.trains, made.evaluates_only, made.recovery.from_) == (True, False, f"job:{JOB}")
    decided = resolve(made, facts(12), start=EIGHT)
    assert decided.recovery is not None
    assert decided.plan is not None
    assert (decided.recovery.method, decided.recovery.effort) == ("distill", "high")
    assert (decided.plan.kept, decided.plan.dropped) == (EIGHT.kept, [4, 5, 9, 10])
    assert decided.plan.layers_total == 12


def test_it_is_called_from_wherever_it_is_written() -> None:
    sent = {"model": "acme/bert", "task": "sst2", **FROM}
    made = JobRequest.model_validate(sent)
    assert JobRequest.model_validate_json(made.model_dump_json(exclude_unset=True)) == made
    assert made.model_dump(exclude_unset=True)["recovery"] == FROM["recovery"]
    with pytest.raises(ValidationError, match="from_"):
        request(recovery={"from_": f"job:{JOB}"})


@pytest.mark.parametrize("reference", [JOB, "job:", "job:job_1", f"job:{JOB}x", f"upload:{JOB}", ""])
def test_what_is_no_reference_is_refused(reference: str) -> None:
    with pytest.raises(ValidationError, match=r"pattern|at most 32"):
        request(recovery={"from": reference})


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"prune": {"strategy": "auto", "drop": 2}}, "/prune/strategy", f"search in model: job:{JOB}"),
        ({"prune": "none", "task": "none"}, "/prune/strategy", f"give model: job:{JOB}"),
        ({"prune": "none", "recovery": {**FROM["recovery"], "method": "none"}}, "/prune/strategy", "stay as it is"),
    ],
)
def test_what_cannot_begin_at_an_earlier_job_is_refused(body: dict[str, Any], param: str, words: str) -> None:
    error = refusal(**{**FROM, **body})
    assert (error.code, error.param) == ("validation_failed", param)
    assert words in error.message


def test_a_plan_keeps_to_the_same_rules() -> None:
    def refused(**body: Any) -> str | None:
        with pytest.raises(LayercutError) as caught:
            PlanRequest.model_validate({"model": "acme/bert"} | body)
        return caught.value.param

    assert refused(prune="auto", **FROM) == "/prune/strategy"
    assert refused(prune="none", recovery={"method": "distill"}) == "/recovery/method"
    assert PlanRequest.model_validate({"model": "acme/bert", "prune": "none", **FROM}).recovery.from_


# --- plans


def test_fixed_strategies_see_what_is_left_and_say_the_originals_numbers() -> None:
    made = plan({"strategy": "top", "drop": 2})
    assert made.kept == [0, 1, 2, 3, 6, 7]
    assert made.dropped == [4, 5, 8, 9, 10, 11]
    assert (made.layers_total, made.expected_speedup) == (12, 2.0)
    assert (made.parameters_before, made.parameters_after) == (16_000, 10_000)
    assert plan({"strategy": "alternate_odd", "drop": 2}).kept == [0, 1, 2, 3, 7, 11]


@pytest.mark.parametrize(
    ("spec", "left"),
    [({"drop_ratio": 0.5}, 4), ({"target_params": 9_000}, 5), ({}, 5)],
)
def test_amounts_are_of_the_layers_that_are_left(spec: dict[str, Any], left: int) -> None:
    made = plan(spec)
    assert made.kept == EIGHT.kept[:left]


def test_layers_are_named_by_their_number_in_the_original() -> None:
    assert plan({"strategy": "explicit", "drop_layers": [11, 6]}).kept == [0, 1, 2, 3, 7, 8]
    assert plan({"strategy": "explicit", "keep_layers": [11, 6]}).kept == [6, 11]
    for field in ("drop_layers", "keep_layers"):
        error = not_planned({"strategy": "explicit", field: [6, 5, 12]})
        assert (error.code, error.param) == ("invalid_layers", f"/prune/{field}")
        assert f"[5, 12] are not in what {JOB} delivered" in error.message
        assert str(EIGHT.kept) in error.message


def test_importance_is_shown_by_the_originals_layers() -> None:
    spec = {"strategy": "block_influence", "drop": 2, "protect_layers": [0, 6]}
    open_plan = plan(spec)
    assert (open_plan.kept, open_plan.dropped, open_plan.protected) == (None, None, [0, 6])
    made = plan(spec, importance=[0.1, 0.9, 0.8, 0.2, 0.1, 0.3, 0.7, 0.6])
    assert made.dropped == [3, 4, 5, 7, 9, 10]
    assert made.importance == [0.1, 0.9, 0.8, 0.2, None, None, 0.1, 0.3, 0.7, None, None, 0.6]
    assert not_planned({**spec, "protect_layers": [4]}).param == "/prune/protect_layers"


def test_blocks_are_shown_by_the_originals_first_layer() -> None:
    distances = [[abs(a - b) / 10 for b in range(9)] for a in range(9)]
    distances[4][6] = 0.01
    made = plan({"strategy": "angular", "drop": 2}, importance=distances)
    assert made.dropped == [4, 5, 6, 7, 9, 10]
    assert made.importance == [0.2, 0.2, 0.2, 0.2, None, None, 0.01, 0.2, 0.2]


def test_what_is_wrong_says_whose_numbers_it_speaks_in() -> None:
    error = not_planned({"strategy": "top", "drop": 8})
    assert (error.code, error.param) == ("invalid_layers", "/prune/drop")
    assert "the model has 8 layers" in error.message
    assert f"what {JOB} left of the model" in error.message


def test_an_encoder_decoder_is_refused() -> None:
    two = facts(6, architecture="t5", stacks={"encoder": 3, "decoder": 3})
    with pytest.raises(LayercutError, match="two lists of layers") as caught:
        plan_job(PruneSpec(), two, start(0, 1, 3, 4, total=6), seed=1)
    assert (caught.value.code, caught.value.param) == ("unsupported_architecture", "/recovery/from")


@pytest.mark.parametrize("kept", [[0, 2, 1], [0, 1, 1], [0, 1], [0, 1, 12], [-1, 0, 1]])
def test_layers_that_no_job_of_ours_kept_are_no_start(kept: list[int]) -> None:
    broken = start(0, 1, 2).model_copy(update={"kept": kept})
    assert not_planned({"drop": 1}, broken).param == "/recovery/from"


def test_weights_of_another_model_are_found_out() -> None:
    known = EIGHT.model_copy(update={"source": "c" * 64})
    for begin, found in ((known, "c" * 64), (known, None), (EIGHT, "d" * 64)):
        begin.check_source(found)
    with pytest.raises(LayercutError, match="not those that") as caught:
        known.check_source("d" * 64)
    assert caught.value.param == "/model"
