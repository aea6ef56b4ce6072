"""Wrong input is refused at POST with a code, the field to blame and a text that says what would be right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from safetensors.numpy import save_file


def refusal(client: TestClient, body: dict[str, Any]) -> tuple[str, str, str]:
    """Code, pointer and text of the one thing that is wrong with ``body``."""
    answer = client.post("/v1/jobs", json=body)
    problem = answer.json()
    assert answer.status_code == 422, problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"/problems/{problem['code'].replace('_', '-')}"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert client.get("/v1/jobs").json()["data"] == []
    (error,) = problem["errors"]
    return problem["code"], error["pointer"], error["message"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "tables" / "reviews.csv"
    path.write_text("text,label\n" + "".join(f"text {row},{row % 2}\n" for row in range(40)))
    return path


def own(table: Path, **changes: Any) -> dict[str, Any]:
    return {"dataset": str(table), "text_columns": ["text"], "label_column": "label", **changes}


def test_texts_longer_than_the_model_reads(client: TestClient, body: dict[str, Any]) -> None:
    code, pointer, text = refusal(client, {**body, "recovery": {"max_length": 64}})
    assert (code, pointer) == ("validation_failed", "/recovery/max_length")
    assert "is 64 tokens, and the model reads 32 at most" in text


def test_tokens_without_an_embedding(client: TestClient, body: dict[str, Any]) -> None:
    (Path(body["model"]) / "vocab.txt").write_text("".join(f"word{number}\n" for number in range(13)))
    code, pointer, text = refusal(client, body)
    assert (code, pointer) == ("model_invalid", "/model")
    assert "13 tokens, the last with id 12, and the embeddings have 10 rows" in text


def test_an_unknown_field_is_named_with_the_near_one(client: TestClient, body: dict[str, Any]) -> None:
    code, pointer, text = refusal(client, {**body, "prioriti": 3})
    assert (code, pointer) == ("validation_failed", "/prioriti")
    assert "did you mean priority?" in text


@pytest.mark.parametrize("field", ["fron", "frm", "from_"])
def test_a_field_is_called_as_a_body_calls_it(client: TestClient, body: dict[str, Any], field: str) -> None:
    code, pointer, text = refusal(client, {**body, "recovery": {field: "job:x"}})
    assert (code, pointer) == ("validation_failed", f"/recovery/{field}")
    assert text.endswith("did you mean from?")


def test_an_unknown_field_of_a_part_is_named(client: TestClient, body: dict[str, Any]) -> None:
    code, pointer, text = refusal(client, {**body, "recovery": {"epoch": 3}})
    assert (code, pointer) == ("validation_failed", "/recovery/epoch")
    assert "did you mean epochs?" in text


def test_a_missing_field_is_named(client: TestClient, body: dict[str, Any]) -> None:
    del body["task"]
    assert refusal(client, body)[:2] == ("validation_failed", "/task")


def test_a_wrong_value_says_all_that_is_taken(client: TestClient, body: dict[str, Any]) -> None:
    code, pointer, text = refusal(client, {**body, "recovery": {"epochs": -1}})
    assert (code, pointer) == ("validation_failed", "/recovery/epochs")
    assert "greater than 0" in text
    assert "auto" in text


def test_every_wrong_field_is_listed(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/v1/jobs", json={**body, "seed": -1, "priority": "high"}).json()
    assert {error["pointer"] for error in answer["errors"]} == {"/seed", "/priority"}


def test_an_unknown_strategy_is_answered_with_the_near_one(client: TestClient, body: dict[str, Any]) -> None:
    code, pointer, text = refusal(client, {**body, "prune": {"strategy": "symetric"}})
    assert (code, pointer) == ("unknown_strategy", "/prune/strategy")
    assert "did you mean symmetric?" in text


@pytest.mark.parametrize("drop", [-1, 0, 6, 7])
def test_dropping_no_layer_or_all_of_them_is_refused(client: TestClient, body: dict[str, Any], drop: int) -> None:
    code, pointer, text = refusal(client, {**body, "prune": {"drop": drop}})
    assert (code, pointer) == ("invalid_layers", "/prune/drop")
    assert "6 layers" in text


def test_symmetric_with_an_odd_rest_works_and_warns(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/v1/jobs", json={**body, "prune": {"strategy": "symmetric", "drop": 3}})
    assert answer.status_code == 202
    plan = answer.json()["resolved"]["plan"]
    assert plan["kept"] == [0, 1, 5]
    assert "odd number" in plan["warnings"][0]


def test_alternate_past_half_is_refused(client: TestClient, body: dict[str, Any]) -> None:
    code, pointer, text = refusal(client, {**body, "prune": {"strategy": "alternate_odd", "drop": 4}})
    assert (code, pointer) == ("invalid_layers", "/prune/drop")
    assert "at most 3 of 6" in text


@pytest.mark.parametrize(
    ("prune", "pointer", "said"),
    [
        ({"drop_layers": [1, 1]}, "/prune/drop_layers", "more than once"),
        ({"drop_layers": [-1]}, "/prune/drop_layers", "numbered 0 to 5"),
        ({"drop_layers": [6]}, "/prune/drop_layers", "numbered 0 to 5"),
        ({"drop_layers": []}, "/prune/drop_layers", "empty"),
        ({"keep_layers": [0, 1, 2, 3, 4, 5]}, "/prune/keep_layers", "at least one"),
    ],
)
def test_a_wrong_list_of_layers_is_refused(
    client: TestClient, body: dict[str, Any], prune: dict[str, Any], pointer: str, said: str
) -> None:
    code, where, text = refusal(client, {**body, "prune": {"strategy": "explicit", **prune}})
    assert (code, where) == ("invalid_layers", pointer)
    assert said in text


def test_an_absurd_list_of_layers_is_refused_in_a_few_words(client: TestClient, body: dict[str, Any]) -> None:
    prune = {"strategy": "explicit", "drop_layers": list(range(5_000))}
    code, pointer, text = refusal(client, {**body, "prune": prune})
    assert (code, pointer) == ("validation_failed", "/prune/drop_layers")
    assert len(text) < 200


def test_a_body_of_nothing_but_unknown_fields_is_answered_with_a_few(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/v1/jobs", json={**body, **{f"strategy{number}": 0 for number in range(5_900)}})
    assert answer.status_code == 422
    assert "5850 errors more" in answer.json()["detail"]
    assert len(answer.json()["errors"]) == 50


def test_an_unknown_task_is_answered_with_the_near_one(client: TestClient, body: dict[str, Any]) -> None:
    code, pointer, text = refusal(client, {**body, "task": "sst3"})
    assert (code, pointer) == ("unknown_task", "/task")
    assert "sst2" in text


def test_own_data_under_the_root_is_accepted(client: TestClient, body: dict[str, Any], table: Path) -> None:
    answer = client.post("/v1/jobs", json={**body, "task": own(table)})
    assert answer.status_code == 202
    assert answer.json()["resolved"]["recovery"]["method"] == "distill"


@pytest.mark.parametrize("path", ["/etc/passwd", "{root}/../secret.csv", "{root}/link.csv"])
def test_a_dataset_outside_the_root_is_refused(
    client: TestClient, body: dict[str, Any], table: Path, tmp_path: Path, path: str
) -> None:
    (tmp_path / "secret.csv").write_text("text,label\na,0\nb,1\n")
    (table.parent / "link.csv").symlink_to(tmp_path / "secret.csv")
    given = path.format(root=table.parent)
    code, pointer, _ = refusal(client, {**body, "task": own(table, dataset=given)})
    assert (code, pointer) == ("dataset_not_allowed", "/task/dataset")


def test_a_dataset_that_is_not_there_is_refused(client: TestClient, body: dict[str, Any], table: Path) -> None:
    code, pointer, _ = refusal(client, {**body, "task": own(table.with_name("review.csv"))})
    assert (code, pointer) == ("dataset_not_found", "/task/dataset")


def test_a_missing_column_is_refused_with_those_there_are(
    client: TestClient, body: dict[str, Any], table: Path
) -> None:
    code, _, text = refusal(client, {**body, "task": own(table, text_columns=["review"])})
    assert code == "dataset_invalid"
    assert "review" in text
    assert "label" in text


def test_a_model_outside_the_roots_is_refused(client: TestClient, body: dict[str, Any], tmp_path: Path) -> None:
    code, pointer, _ = refusal(client, {**body, "model": str(tmp_path)})
    assert (code, pointer) == ("model_not_allowed", "/model")


def test_a_model_folder_without_config_is_refused(
    client: TestClient, body: dict[str, Any], make_model: Callable[..., Path]
) -> None:
    folder = make_model("bare")
    (folder / "config.json").unlink()
    code, pointer, text = refusal(client, {**body, "model": str(folder)})
    assert (code, pointer) == ("model_invalid", "/model")
    assert "config.json" in text


def test_pickle_weights_are_refused(client: TestClient, body: dict[str, Any], make_model: Callable[..., Path]) -> None:
    folder = make_model("pickled", weights=False)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    code, pointer, text = refusal(client, {**body, "model": str(folder)})
    assert (code, pointer) == ("model_invalid", "/model")
    assert "pickle" in text


def test_remote_code_is_refused(client: TestClient, body: dict[str, Any], make_model: Callable[..., Path]) -> None:
    folder = make_model("remote", auto_map={"AutoModel": "modeling.Mine"})
    code, pointer, text = refusal(client, {**body, "model": str(folder)})
    assert (code, pointer) == ("model_not_allowed", "/model")
    assert "remote code" in text


def test_truncated_weights_are_refused(
    client: TestClient, body: dict[str, Any], make_model: Callable[..., Path]
) -> None:
    weights = make_model("short") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    code, pointer, text = refusal(client, {**body, "model": str(weights.parent)})
    assert (code, pointer) == ("model_invalid", "/model")
    assert "model.safetensors" in text


def test_an_unsupported_architecture_is_answered_with_the_supported_ones(
    client: TestClient, body: dict[str, Any], make_model: Callable[..., Path]
) -> None:
    folder = make_model("other", model_type="gpt9")
    code, pointer, text = refusal(client, {**body, "model": str(folder)})
    assert (code, pointer) == ("unsupported_architecture", "/model")
    assert "distilbert" in text


def test_a_plan_says_what_a_job_would_drop(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/v1/plans", json={"model": body["model"], "prune": {"strategy": "bottom", "drop": 3}})
    assert answer.status_code == 200
    assert answer.json()["dropped"] == [0, 1, 2]
    assert answer.json()["expected_speedup"] == 2.0


def test_a_plan_is_refused_as_a_job_is(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/v1/plans", json={"model": body["model"], "prune": {"drop": 6}})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_layers")


def test_a_plan_on_a_hub_that_is_away_is_to_be_asked_for_later(client: TestClient) -> None:
    answer = client.post("/v1/plans", json={"model": "layercut-test/never-cached"})
    assert (answer.status_code, answer.json()["code"]) == (409, "hub_unavailable")
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    "case",
    [
        ("a.conll", "a B-PER\nb I-LOC\n", {"kind": "token-classification"}, ":2: 'I-LOC' after 'B-PER': in IOB2"),
        ("a.txt", "", {"kind": "embedding"}, "the file has no texts: there is nothing to learn from"),
        ("a.txt", "one\n", {"kind": "embedding"}, "one text alone: there is nothing to learn from"),
        ("a.txt", "one\none\n", {"kind": "embedding"}, "all of them are the same"),
        ("a.jsonl", '{"t": "a", "l": ["x"]}\n{"t": "b", "l": null}\n',
         {"kind": "multi-label", "text_columns": ["t"], "label_column": "l"}, ":2: label 'l' is missing, or no list"),
    ],
)  # fmt: skip
def test_data_that_is_no_use_to_its_kind(
    client: TestClient, body: dict[str, Any], table: Path, case: tuple[str, str, Any, str]
) -> None:
    name, content, task, text = case
    path = table.parent / name
    path.write_text(content)
    code, pointer, message = refusal(client, {**body, "task": {"dataset": str(path), **task}})
    assert (code, pointer) == ("dataset_invalid", "/task/dataset")
    assert text in message


def test_text_without_labels_that_is_one_text(client: TestClient, body: dict[str, Any], table: Path) -> None:
    path = table.parent / "more.txt"
    path.write_text("one\n")
    code, pointer, message = refusal(client, {**body, "task": own(table), "recovery": {"text": {"dataset": str(path)}}})
    assert (code, pointer) == ("dataset_invalid", "/recovery/text/dataset")
    assert "one text alone: there is nothing to learn from" in message


@pytest.fixture
def vectors(body: dict[str, Any], table: Path) -> dict[str, Any]:
    """A job of a sentence-transformers folder, that is accepted."""
    folder = Path(body["model"])
    rows = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")]
    listed = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{name}"}
        for at, (path, name) in enumerate(rows)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    for path, config in (
        ("1_Pooling", {"word_embedding_dimension": 4, "pooling_mode_mean_tokens": True}),
        ("2_Dense", {"in_features": 4, "out_features": 4, "activation_function": "torch.nn.Tanh"}),
    ):
        (folder / path).mkdir()
        (folder / path / "config.json").write_text(json.dumps(config))
    weights = {"linear.weight": np.zeros((4, 4), np.float32), "linear.bias": np.zeros(4, np.float32)}
    save_file(weights, folder / "2_Dense" / "model.safetensors")
    path = table.with_name("texts.csv")
    path.write_text("text,more\n" + "".join(f"text {row},other {row}\n" for row in range(40)))
    return {"model": str(folder), "task": {"kind": "embedding", "dataset": str(path), "text_columns": ["text"]}}


def test_an_embedding_model_is_accepted_and_planned(client: TestClient, vectors: dict[str, Any]) -> None:
    assert client.post("/v1/jobs", json=vectors).json()["resolved"]["prune"]["strategy"] == "contribution"
    assert client.post("/v1/plans", json=vectors).status_code == 200


@pytest.mark.parametrize(
    ("removed", "config", "said"),
    [
        ("modules.json", None, "how its tokens become a vector (the pooling) is not known"),
        ("1_Pooling/config.json", '{"pooling_mode": "middle"}', "'middle'; there are cls"),
        ("1_Pooling/config.json", '{"word_embedding_dimension": 8, "pooling_mode_mean_tokens": true}',
         "takes vectors of 8, and the model makes 4"),
        ("2_Dense/config.json", '{"in_features": 8, "out_features": 4}', "takes vectors of 8, and what comes before"),
    ],
)  # fmt: skip
def test_a_teacher_whose_vectors_are_not_known(
    client: TestClient, vectors: dict[str, Any], removed: str, config: str | None, said: str
) -> None:
    path = Path(vectors["model"]) / removed
    path.write_text(config) if config else path.unlink()
    code, pointer, text = refusal(client, vectors)
    assert (code, pointer) == ("model_invalid", "/model")
    assert said in text
    plan = client.post("/v1/plans", json=vectors)
    assert (plan.status_code, plan.json()["code"]) == (422, "model_invalid")


@pytest.mark.parametrize(
    ("task", "pointer", "said"),
    [
        ({"text_columns": ["text", "more"]}, "/task/text_columns", "reads 1 text column, and 2 are given"),
        ({"label_column": "more"}, "/task/label_column", "has no label_column (task.pairs has one)"),
        ({"pairs": {"name": "stsb", "label_column": "score"}}, "/task/pairs/label_column", "their own label_column"),
    ],
)
def test_pairs_where_single_texts_are_wanted(
    client: TestClient, vectors: dict[str, Any], task: dict[str, Any], pointer: str, said: str
) -> None:
    code, where, text = refusal(client, {**vectors, "task": {**vectors["task"], **task}})
    assert (code, where) == ("validation_failed", pointer)
    assert said in text


@pytest.mark.parametrize(
    ("more", "pointer", "said"),
    [
        ({"prune": {"strategy": "none", "objective": {"drop": 1}}}, "/prune/objective", "drops nothing"),
        ({"prune": "none"}, "/model", "has no head for classification"),
        ({"prune": "none", "recovery": {"effort": "quick"}}, "/recovery/effort", "nothing is distilled"),
    ],
)
def test_an_evaluation_that_cannot_be(
    client: TestClient, body: dict[str, Any], more: dict[str, Any], pointer: str, said: str
) -> None:
    code, where, text = refusal(client, {**body, "task": "sst2", **more})
    assert (code, where) == ("validation_failed", pointer)
    assert said in text


def test_a_row_without_any_label_is_one_of_its_kind(client: TestClient, body: dict[str, Any], table: Path) -> None:
    path = table.with_name("a.jsonl")
    rows = ({"t": f"text {row}", "l": [[], ["x"], ["y"]][row % 3]} for row in range(30))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"kind": "multi-label", "dataset": str(path), "text_columns": ["t"], "label_column": "l"}
    assert client.post("/v1/jobs", json={**body, "task": task}).status_code == 202
