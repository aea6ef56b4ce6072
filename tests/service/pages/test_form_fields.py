"""Fields and the JSON that they stand for: there and back, nothing lost."""

from __future__ import annotations

from typing import Any

import pytest

from api_schemas.errors import FieldError
from service.pages import job_form, study_form
from service.pages.fields import number, wrong_of
from service.pages.visits import Form


@pytest.mark.parametrize(
    "request_body",
    [
        {"model": "a/b", "task": "sst2"},
        {"model": {"id": "a/b", "revision": "main"}, "task": "none", "prune": {"strategy": "top", "drop": 4}},
        {"model": "a", "task": "rte", "prune": {"strategy": "auto", "objective": {"min_retention": 0.98}}},
        {"model": "a", "task": "rte", "prune": {"strategy": "explicit", "drop_layers": [8, 9]}},
        {"model": "t5", "task": "none", "prune": {"strategy": "top", "drop": {"encoder": 2, "decoder": 1}}},
        {
            "model": "a",
            "task": {"dataset": "/x.csv", "text_columns": ["a", "b"], "label_column": "y", "labels": ["0", "1"]},
        },
        {"model": "a", "task": "rte", "recovery": {"method": "distill", "epochs": 1.5, "from": "job:x"}, "seed": 0},
        {"model": "a", "task": "rte", "evaluation": {"latency": {"batch_sizes": [1, 8]}, "seeds": [1, 2]}},
        {"model": "a", "task": "rte", "export": {"formats": ["onnx"], "dtype": "float16"}, "metadata": {"k": "v=w"}},
    ],
)
def test_a_request_comes_back_as_it_went(request_body: dict[str, Any]) -> None:
    assert job_form.request_of(job_form.form_of(request_body)) == request_body


def test_a_study_comes_back_as_it_went() -> None:
    body = {
        "models": ["a", "/m/b"], "tasks": ["sst2"], "strategies": ["top", "bottom"], "drops": [2, 0.5], "seeds": [1, 2],
        "budget": {"jobs": 4}, "recoveries": ["distill"], "efforts": ["quick"], "stop_early": True, "name": "n",
        "job": {"priority": 1, "evaluation": {"margin": 0.1}},
    }  # fmt: skip
    assert study_form.request_of(study_form.form_of(body)) == body
    mixed = {"models": ["a"], "tasks": ["sst2", {"dataset": "/x.csv"}], "drops": [1]}
    assert study_form.request_of(study_form.form_of(mixed)) == mixed
    assert set(study_form.lists_of(study_form.form_of(body))) == {
        "models", "tasks", "strategies", "drops", "seeds", "recoveries", "efforts",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [("4", 4), ("0.5", 0.5), ("1e-4", 1e-4), ("nan", "nan"), ("inf", "inf"), ("x", "x"), ("9" * 40, "9" * 40)],
)
def test_what_is_no_number_stays_text(text: str, value: object) -> None:
    assert number(text) == value


def test_the_longest_place_counts_and_what_has_none_is_told() -> None:
    errors = [
        FieldError(pointer="/model/revision", message="one", code="x"),
        FieldError(pointer="/model", message="two", code="x"),
        FieldError(pointer="/models", message="three", code="x"),
    ]  # fmt: skip
    wrong = wrong_of("all", errors, job_form.PLACES)
    assert wrong.by_field == {"revision": "one", "model": "two"}
    assert wrong.others == ["/models: three"]
    assert wrong_of("all", [], ()).others == ["all"]


def test_spaces_and_empty_fields_are_left_out() -> None:
    form = Form((("model", "  a/b "), ("task", "sst2"), ("value", "3"), ("amount", ""), ("seed", "  ")))
    assert job_form.request_of(form) == {"model": "a/b", "task": "sst2"}
