"""Requests as people send them in a hurry: taken where there is one meaning, else answered with what is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

OWN = {"label_column": "label", "text_columns": "text"}


@pytest.mark.parametrize(
    ("change", "place", "value"),
    [
        ({"task": "SST-2"}, ("task", "name"), "sst2"),
        ({"task": "CoLA"}, ("task", "name"), "cola"),
        ({"prune": "Alternate-Odd"}, ("prune", "strategy"), "alternate_odd"),
        ({"prune": {"drop_ratio": "33%"}}, ("prune", "drop_ratio"), 0.33),
        ({"prune": {"drop_ratio": 50}}, ("prune", "drop_ratio"), 0.5),
        ({"task": "rte", "evaluation": {"margin": "2 %"}}, ("evaluation", "margin"), 0.02),
        ({"task": "rte", "recovery": "finetune"}, ("recovery", "method"), "finetune"),
        ({"task": "rte", "evaluation": {"seeds": 3}}, ("evaluation", "seeds"), [3]),
    ],
)
def test_it_is_taken_and_shown_as_it_was_read(
    client: TestClient, body: dict[str, Any], change: dict[str, Any], place: tuple[str, str], value: Any
) -> None:
    answer = client.post("/v1/jobs", json={**body, **change})
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert job["resolved"][place[0]][place[1]] == value
    assert job["request"] == {**body, **change}, "as it was sent"


def test_a_column_by_itself(client: TestClient, body: dict[str, Any], tmp_path: Path) -> None:
    table = tmp_path / "tables" / "a.csv"
    table.write_text("text,label\n" + "good,yes\nbad,no\n" * 20)
    task = {**OWN, "dataset": str(table), "metric": "F1"}
    job = client.post("/v1/jobs", json={**body, "task": task}).json()
    assert job["resolved"]["task"]["text_columns"] == ["text"]
    assert job["resolved"]["task"]["metric"] == "f1"


@pytest.mark.parametrize(
    ("change", "pointer", "words"),
    [
        ({"task": "sst 3"}, "/task", "did you mean sst2?"),
        ({"task": "glue/sst2"}, "/task", "did you mean sst2?"),
        ({"task": "/data/a.csv"}, "/task", 'an object: {"dataset": "…"'),
        ({"task": "reviews.csv"}, "/task", 'an object: {"dataset": "…"'),
        ({"prune": {"drop_ratio": 1}}, "/prune/drop_ratio", 'give "1%" or 0.01'),
        ({"prune": {"drop_ratio": "a third"}}, "/prune/drop_ratio", 'as a percentage, "33%"'),
        ({"prune": {"drop_layers": 4}}, "/prune/drop_layers", "`drop` is how many go"),
        ({"prune": {"strategy": "explicit", "drop_layers": "4,5"}}, "/prune/drop_layers", "as in [8, 9]"),
        ({"prune": {"drop": "4"}}, "/prune/drop", "send it without quotes"),
        ({"prune": {"dropRatio": 0.5}}, "/prune/dropRatio", "did you mean drop_ratio?"),
        ({"prune": {"Strategy": "top"}}, "/prune/Strategy", "did you mean strategy?"),
        ({"prune": {"drop": {"Encoder": 2}}}, "/prune/drop/Encoder", "did you mean encoder?"),
        ({"drop": 2}, "/drop", "did you mean prune.drop or"),
        ({"epochs": 3}, "/epochs", "did you mean recovery.epochs?"),
        ({"prune": {"epochs": 3}}, "/prune/epochs", "did you mean recovery.epochs?"),
        ({"recovery": {"seed": 3}}, "/recovery/seed", "did you mean seed?"),
        ({"recovery": {"method": "Distill"}}, "/recovery/method", "or 'auto'; did you mean distill?"),
        ({"recovery": {"method": "fine-tune"}}, "/recovery/method", "did you mean finetune?"),
        ({"recovery": "distil"}, "/recovery", "did you mean distill?"),
        ({"recovery": {"effort": "hi"}}, "/recovery/effort", "did you mean high?"),
        ({"recovery": {"precision": "BF16"}}, "/recovery/precision", "did you mean bf16?"),
        ({"recovery": {"epochs": "3"}}, "/recovery/epochs", "send it without quotes"),
        ({"evaluation": {"baseline": "false"}}, "/evaluation/baseline", "send it without quotes"),
        ({"Model": "acme/bert"}, "/Model", "did you mean model?"),
    ],
)
def test_it_is_refused_with_what_is_right(
    client: TestClient, body: dict[str, Any], change: dict[str, Any], pointer: str, words: str
) -> None:
    answer = client.post("/v1/jobs", json={**body, **change})
    assert answer.status_code == 422, answer.text
    said = {error["pointer"]: error["message"] for error in answer.json()["errors"]}
    assert words in said[pointer]


# --- a hub that does not answer (tests/service/conftest.py)


def test_a_model_that_must_resolve_is_refused_at_once(client: TestClient) -> None:
    asked = {"model": {"id": "acme/bert", "must_resolve": True}, "task": "rte"}
    answer = client.post("/v1/jobs", json=asked)
    assert (answer.status_code, answer.json()["code"]) == (409, "hub_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    asked["model"] = "acme/bert"
    assert client.post("/v1/jobs", json=asked).json()["resolved"]["plan"] is None, "else its worker asks the hub"


def test_a_folder_resolves(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/v1/jobs", json={**body, "model": {"id": body["model"], "must_resolve": True}})
    assert answer.status_code == 202
    assert answer.json()["resolved"]["plan"]["layers_total"] == 6


TAGS = {"kind": "token-classification", "label_column": "tags", "text_columns": "words"}


@pytest.mark.parametrize(
    ("model", "task", "words"),
    [
        ("t5-small", "sst2", "t5-small (t5) is an encoder-decoder: it can be pruned with task 'none'"),
        ("google-t5/t5-base", "CoLA", "encoder-decoder"),
        ("google/flan-t5-xl", "rte", "encoder-decoder"),
        ("facebook/bart-large-cnn", "mnli", "encoder-decoder"),
        ("facebook/opt-125m", "tags", "no class of facebook/opt-125m (opt) for token-classification"),
        ("google/gemma-3-1b-it", "tags", "no class of google/gemma-3-1b-it"),
    ],
)
def test_a_family_that_cannot_do_the_task_is_known_by_its_id(
    client: TestClient, tmp_path: Path, model: str, task: Any, words: str
) -> None:
    table = tmp_path / "tables" / "tags.jsonl"
    table.write_text('{"words": ["Ada", "sat"], "tags": ["B-PER", "O"]}\n' * 30)
    asked = {"model": model, "task": {**TAGS, "dataset": str(table)} if task == "tags" else task}
    answer = client.post("/v1/jobs", json=asked).json()
    assert answer["code"] == "unsupported_architecture", answer
    assert words in answer["detail"]


@pytest.mark.parametrize("model", ["acme/t5-small", "google/gemma-3-4b-it", "facebook/bartender", "t5-smaller"])
def test_an_id_that_tells_no_family_is_left_to_the_worker(client: TestClient, model: str) -> None:
    assert client.post("/v1/jobs", json={"model": model, "task": "sst2"}).status_code == 202


@pytest.mark.parametrize("model", ["t5-small", "facebook/bart-base"])
def test_what_it_can_do_is_not_refused(client: TestClient, model: str) -> None:
    assert client.post("/v1/jobs", json={"model": model, "task": "none"}).status_code == 202
