"""The OpenAPI document tells a client generator all it needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.metrics import METRICS
from api_schemas.strategies import STRATEGIES
from api_schemas.task_kinds import TASK_KINDS, kinds_with
from api_schemas.tasks import TASKS
from service.answer_examples import WITHOUT, answered, answers
from service.app import create_app
from service.settings import GatewaySettings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(GatewaySettings()).openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_bodies_are_described_though_they_are_read_raw(document: dict[str, Any]) -> None:
    for path, model in (("/v1/jobs", "JobRequest"), ("/v1/plans", "PlanRequest")):
        body = document["paths"][path]["post"]["requestBody"]
        assert body["required"]
        assert body["content"]["application/json"]["schema"] == {"$ref": f"#/components/schemas/{model}"}


def test_a_model_and_a_task_may_be_plain_strings(document: dict[str, Any]) -> None:
    for name in ("ModelRef", "TaskSpec"):
        *texts, whole = document["components"]["schemas"][name]["anyOf"]
        assert (texts[-1]["type"], whole["type"]) == ("string", "object")


def test_a_metric_is_one_that_admission_takes(document: dict[str, Any]) -> None:
    task = document["components"]["schemas"]["TaskSpec"]["anyOf"][-1]
    assert {"$ref": "#/components/schemas/MetricName"} in task["properties"]["metric"]["anyOf"]
    names = document["components"]["schemas"]["MetricName"]["enum"]
    assert names == [name for name in METRICS if kinds_with(name)]
    assert "cosine_p5" not in names


def test_names_are_an_enum_beside_any_text(document: dict[str, Any]) -> None:
    """So a generated client knows them, takes those that a later version adds, and reads a request as it was sent."""
    schemas = document["components"]["schemas"]
    task, prune = schemas["TaskSpec"]["anyOf"][-1]["properties"], schemas["PruneSpec"]["properties"]
    properties = {
        "name": (task, "TaskName", [*TASKS, "none"]),
        "kind": (task, "TaskKindName", [*TASK_KINDS, "auto"]),
        "strategy": (prune, "StrategyName", [*STRATEGIES]),
    }
    for name, (owner, title, names) in properties.items():
        listed, other, *_ = owner[name]["anyOf"]
        assert listed == {"$ref": f"#/components/schemas/{title}"}
        assert schemas[title] == {"type": "string", "title": title, "enum": names}
        assert (other["type"], other["maxLength"]) == ("string", 200)
    effort = schemas["RecoverySpec"]["properties"]["effort"]
    assert [one["enum"] for one in effort["anyOf"]] == [["quick", "standard", "high"], ["auto"]]


def test_every_reference_has_a_target(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    assert "#/$defs" not in text
    used = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert used <= set(document["components"]["schemas"])


def test_every_refusal_is_a_problem(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            if int(status) >= 400 and not (name == "GET /readyz" and status == "503"):
                assert list(response["content"]) == ["application/problem+json"], (name, status)
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_operation_has_a_name_of_its_own_and_says_what_it_does(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(names) == len(set(names))
    for name, operation in operations(document):
        assert operation.get("description"), name
        assert operation["tags"], name


def test_the_examples_in_the_document_are_accepted(client: TestClient, document: dict[str, Any]) -> None:
    content = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        assert client.post("/v1/jobs", json=example["value"]).status_code == 202


def test_the_document_and_the_pages_are_served(client: TestClient) -> None:
    assert client.get("/openapi.json").json()["info"]["title"] == "layercut"
    assert client.get("/docs").status_code == 200


def test_the_document_says_what_a_string_may_hold(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    (name, other, task), (id_, model) = schemas["TaskSpec"]["anyOf"], schemas["ModelRef"]["anyOf"]
    assert [name, other] == task["properties"]["name"]["anyOf"][:2]
    assert other["pattern"] == "^[^\\u0000]*$"
    assert id_["pattern"] == model["properties"]["id"]["pattern"]
    for good in ("bert", "google-bert/bert-base-uncased", "/models/bert", "./bert", "~/bert"):
        assert re.search(id_["pattern"], good)
    for bad in ("a/b/c", "a b", "-a", "a/", "https://x", "a\0b", "/a\0b"):
        assert not re.search(id_["pattern"], bad)
    assert schemas["JobRequest"]["properties"]["metadata"]["propertyNames"]["maxLength"] == 64
    assert schemas["JobRequest"]["properties"]["metadata"]["additionalProperties"]["pattern"]


def test_a_parameter_is_never_null(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            assert "null" not in json.dumps(parameter["schema"]), name
            assert parameter["name"].lower() != "accept", "OpenAPI ignores it"


@pytest.mark.parametrize(("auth", "security"), [("auto", [{}, {"bearer": []}]), ("on", [{"bearer": []}])])
def test_it_says_where_a_key_is_needed(auth: str, security: list[dict[str, list[str]]]) -> None:
    document = create_app(GatewaySettings.model_validate({"auth": auth})).openapi()
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for operation in methods.values():
            closed = path.startswith(("/v1/", "/metrics"))
            assert operation.get("security", []) == (security if closed else []), path
            assert ({"401", "403", "429"} <= set(operation["responses"])) == closed, path


def test_it_is_the_document_in_the_repository(document: dict[str, Any]) -> None:
    kept = json.loads((ROOT / "docs/openapi.json").read_text(encoding="utf-8"))
    assert kept == document, "make openapi renews it"


def test_every_request_every_answer_and_every_error_has_an_example(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        contents = list(operation.get("requestBody", {}).get("content", {}).items())
        for response in operation["responses"].values():
            contents += response.get("content", {}).items()
        for kind, content in contents:
            assert kind in WITHOUT or "example" in content or content.get("examples"), (name, kind)


def test_no_example_is_of_a_call_that_is_gone(document: dict[str, Any]) -> None:
    assert set(answers()) <= {key for key, _ in answered(document)}


def test_every_property_and_every_parameter_is_described(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        for part in (schema, *schema.get("anyOf", ())):
            silent = [field for field, shown in part.get("properties", {}).items() if not shown.get("description")]
            assert silent == [], name
    for name, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            assert parameter["in"] == "path" or parameter.get("description"), (name, parameter["name"])
