"""What a run says of a job."""

from __future__ import annotations

from api_schemas.architectures import ModelFacts
from api_schemas.reports import CurvePoint, Search
from api_schemas.requests import JobRequest
from api_schemas.resolved import ResolvedRequest, resolve
from tests.support.reports import report
from workers.tracking.facts import LONGEST_VALUE, curve_of, metrics_of, params_of

FACTS = ModelFacts(id="acme/bert", revision="a" * 40, architecture="bert", layers=12, hidden_size=768)


def resolved(**parts: object) -> ResolvedRequest:
    request = JobRequest.model_validate({"model": "acme/bert", "task": "SST-2", "prune": {"drop": 4}, **parts})
    return resolve(request, FACTS)


def test_params_are_the_resolved_request_by_dotted_names() -> None:
    found = params_of(resolved(recovery={"epochs": 2}, metadata={"team": "search"}, suffix="night"))
    assert found["model.id"] == "acme/bert"
    assert found["model.revision"] == "a" * 40
    assert (found["task.name"], found["prune.strategy"], found["prune.drop"]) == ("sst2", "top", "4")
    assert (found["recovery.method"], found["recovery.epochs"], found["seed"]) == ("distill", "2.0", "42")
    assert (found["layers.total"], found["layers.dropped"]) == ("12", "[8, 9, 10, 11]")
    assert found["suffix"] == "night"


def test_what_is_not_decided_yet_is_not_told() -> None:
    """A param can be written once: what a worker decides is told when it has."""
    found = params_of(resolved())
    assert "recovery.batch_size" not in found
    assert "recovery.precision" not in found
    assert not [name for name, value in found.items() if value in ("auto", "null", "[]", "{}", "")]
    assert not [name for name in found if name.startswith(("metadata", "plan", "limits", "priority"))]


def test_a_model_that_could_not_be_looked_at_has_no_layers() -> None:
    request = JobRequest.model_validate({"model": "acme/bert", "task": "sst2"})
    found = params_of(resolve(request, None))
    assert found["prune.strategy"] == "top"
    assert not [name for name in found if name.startswith(("layers", "recovery"))]


def test_a_long_value_is_cut() -> None:
    labels = [f"label number {number}" for number in range(200)]
    task = {"dataset": "/data/a.csv", "text_columns": "text", "label_column": "label", "labels": labels}
    found = params_of(resolved(task=task))["task.labels"]
    assert len(found) == LONGEST_VALUE
    assert found.endswith("…")


def test_metrics_are_the_numbers_of_the_report() -> None:
    found = metrics_of(report())
    assert (found["before/score"], found["after/score"], found["retention"]) == (92.43, 91.6, 0.991)
    assert (found["before/accuracy"], found["after/accuracy"]) == (92.43, 91.6)
    assert (found["before/parameters"], found["after/parameters"]) == (109_483_778, 81_131_522)
    assert found["after/bytes"] == 324_500_000
    assert found["after/latency_p50_ms/batch_32_tokens_128"] == 67.0
    assert (found["gain/low"], found["gain/high"]) == (-1.5, 0.25)
    assert (found["layers/total"], found["layers/kept"]) == (12, 8)
    assert (found["recovering/steps"], found["seconds/baseline"]) == (10, 1.0)
    assert "recovering/best_score" not in found


def test_what_is_not_defined_is_no_number() -> None:
    before = report().before.model_copy(update={"score": None, "metrics": {"f1": None, "accuracy": float("nan")}})
    found = metrics_of(report(before=before, retention=None))
    assert not {"before/score", "before/f1", "before/accuracy", "retention"} & found.keys()


def test_of_a_search_the_curve_is_told_by_the_layers_that_go() -> None:
    points = [
        CurvePoint(drop=drop, kept=None, dropped=None, score=90.0 - drop, retention=kept, parameters=100, bytes=400)
        for drop, kept in ((2, 0.99), (4, None))
    ]
    search = Search(
        objective={"drop": 2}, chosen=2, met=True, curve=points, front=[2], brackets=[], steps=1, spent_steps=1
    )
    assert curve_of(report(search=search)) == {
        2: {"search/retention": 0.99, "search/score": 88.0, "search/parameters": 100.0},
        4: {"search/score": 86.0, "search/parameters": 100.0},
    }
    assert curve_of(report()) == {}
