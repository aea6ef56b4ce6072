"""All that a client sends has a bound, is of its own type, and is not sent back at length."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, get_args

import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel
from sqlalchemy import update

from api_schemas.jobs import JobsToCancel
from api_schemas.request_parts import Request
from api_schemas.requests import JobRequest, PlanRequest
from api_schemas.task_spec import LabelMap
from api_schemas.tenants import ApiKeyRequest
from api_schemas.webhook_requests import WebhookChange, WebhookRequest
from service.app import create_app
from service.bodies import MAX_VALUES, parse_json, validated
from service.problems import InvalidBody
from service.settings import GatewaySettings
from service.state import GatewayState
from store.tables import jobs

BODIES = (JobRequest, PlanRequest, ApiKeyRequest, JobsToCancel, WebhookRequest, WebhookChange)
ENDS = (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))
#: What lies outside is brought inside, however far; what is no number of ours is not read.
WITHOUT_BOUND = {
    f"/v1/jobs/{{job_id}}/{what}?{name}" for what in ("events", "logs") for name in ("limit", "last-event-id")
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(GatewaySettings()).openapi()


def parts(value: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema within ``value``, and where it stands."""
    if isinstance(value, dict):
        yield place, value
        for name in value.keys() - {"default", "examples"}:
            yield from parts(value[name], f"{place}/{name}")
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from parts(inner, f"{place}/{at}")


def sent(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of what a client may send: of bodies with all that they refer to, and of parameters."""
    schemas, found = document["components"]["schemas"], set()
    todo = [model.__name__ for model in BODIES]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += [part["$ref"].rsplit("/", 1)[-1] for _, part in parts(schemas[name], name) if "$ref" in part]
            yield from parts(schemas[name], name)
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                yield from parts(parameter["schema"], f"{path}?{parameter['name']}")


def is_bounded(schema: dict[str, Any]) -> bool:
    kind, names = schema.get("type"), schema.get("propertyNames", {})
    if {"enum", "const"} & schema.keys():
        return True
    if kind in ("integer", "number"):
        return all(any(end in schema for end in ends) for ends in ENDS)
    if kind == "object" and "properties" not in schema:
        return "enum" in names or ("maxProperties" in schema and "maxLength" in names)
    return {"string": "maxLength", "array": "maxItems"}.get(str(kind), "") in (*schema, "")


def test_all_that_is_sent_has_a_bound(document: dict[str, Any]) -> None:
    found = list(sent(document))
    assert len(found) > 100
    assert [place for place, schema in found if not is_bounded(schema) and place not in WITHOUT_BOUND] == []


def models_of(annotation: Any) -> Iterator[type[BaseModel]]:
    for inner in get_args(annotation):
        yield from models_of(inner)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_of(field.annotation)


def test_every_part_of_a_request_is_strict() -> None:
    found = {model for body in BODIES for model in models_of(body)}
    assert len(found) > 10
    assert [model.__name__ for model in found - {LabelMap} if not issubclass(model, Request)] == []
    assert all(model.model_config["strict"] for model in found)


@pytest.mark.parametrize("model", BODIES)
def test_null_in_any_field_is_taken_or_refused_by_name(model: type[BaseModel]) -> None:
    for name in model.model_fields:
        with suppress(InvalidBody):
            validated(model, {name: None})


NUMBERS: list[tuple[str, dict[str, Any]]] = [
    ("/seed", {"seed": "%"}),
    ("/priority", {"priority": "%"}),
    ("/evaluation/margin", {"evaluation": {"margin": "%"}}),
    ("/evaluation/seeds/0", {"evaluation": {"seeds": ["%"]}}),
    ("/evaluation/latency/batch_sizes/0", {"evaluation": {"latency": {"batch_sizes": ["%"]}}}),
    ("/limits/max_attempts", {"limits": {"max_attempts": "%"}}),
    ("/prune/drop", {"prune": {"drop": "%"}}),
    ("/prune/drop/decoder", {"prune": {"drop": {"decoder": "%"}}}),
    ("/prune/drop_ratio", {"prune": {"drop_ratio": "%"}}),
    ("/prune/drop_layers/0", {"prune": {"strategy": "explicit", "drop_layers": ["%"]}}),
    ("/prune/target_params", {"prune": {"target_params": "%"}}),
    ("/prune/threshold", {"prune": {"strategy": "contribution", "threshold": "%"}}),
    ("/prune/objective/max_latency_ms", {"prune": {"strategy": "auto", "objective": {"max_latency_ms": "%"}}}),
    ("/prune/objective/max_params", {"prune": {"strategy": "auto", "objective": {"max_params": "%"}}}),
    ("/prune/calibration/rows", {"prune": {"strategy": "contribution", "calibration": {"rows": "%"}}}),
    ("/recovery/epochs", {"recovery": {"epochs": "%"}}),
    ("/recovery/temperature", {"recovery": {"temperature": "%"}}),
    ("/recovery/hidden_weight", {"recovery": {"hidden_weight": "%"}}),
    ("/recovery/batch_size", {"recovery": {"batch_size": "%"}}),
    ("/task/max_train_rows", {"task": {"name": "sst2", "max_train_rows": "%"}}),
]
VALUES = ('"inf"', '"nan"', '"1e999"', '"1"', "true", f"1{'0' * 400}", f"-1{'0' * 400}", "9223372036854775808", "[1]")


@pytest.mark.parametrize(("pointer", "fields"), NUMBERS, ids=[pointer for pointer, _ in NUMBERS])
def test_what_is_no_number_of_its_field_is_refused(refusing: TestClient, pointer: str, fields: dict[str, Any]) -> None:
    for value in VALUES:
        content = json.dumps({"model": "a/b", "task": "sst2", **fields}).replace('"%"', value)
        answer = refusing.post("/v1/jobs", content=content)
        assert answer.status_code == 422, (value, answer.text)
        assert {error["pointer"] for error in answer.json()["errors"]} in ({pointer}, {f"{pointer}/0"}), answer.text
    assert refusing.get("/v1/jobs").json()["data"] == []


def test_what_is_no_number_of_json_is_refused(refusing: TestClient) -> None:
    for value in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999"):
        answer = refusing.post("/v1/jobs", content=f'{{"model": "a/b", "prune": {{"threshold": {value}}}}}')
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")


def test_the_term_of_a_key_is_a_whole_number(refusing: TestClient) -> None:
    for value in (True, "1", 1.5, 10**400):
        answer = refusing.post("/v1/keys", json={"name": "x", "expires_in_days": value})
        assert answer.status_code == 422, answer.text
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/expires_in_days"]


def test_a_whole_number_is_a_float_too(client: TestClient, body: dict[str, Any]) -> None:
    job = client.post("/v1/jobs?validate_only=true", json={**body, "recovery": {"epochs": 2}}).json()
    assert job["resolved"]["recovery"]["epochs"] == 2.0


@pytest.mark.parametrize(
    "address",
    ["/v1/jobs?limit=", "/v1/audit?limit=", "/v1/audit?before=", "/v1/jobs/job_x/events?after="],
)
def test_a_parameter_that_is_no_number_of_its_kind_is_refused(refusing: TestClient, address: str) -> None:
    for value in ("1e999", "inf", "nan", f"1{'0' * 400}", f"-1{'0' * 5000}", str(2**63), "x" * 5000):
        answer = refusing.get(address + value)
        assert answer.status_code == 422, (value, answer.text)
        assert len(answer.text) < 2000


@pytest.mark.parametrize("name", ["model", "task"])
def test_a_filter_that_no_job_can_have_is_refused(refusing: TestClient, name: str) -> None:
    assert refusing.get("/v1/jobs", params={name: "a" * 5000}).status_code == 422
    assert refusing.get("/v1/jobs", params={"metadata[a]": "a" * 513}).status_code == 422


TEXTS: list[tuple[str, dict[str, Any]]] = [
    ("/model", {"model": "%"}),
    ("/model/id", {"model": {"id": "%"}}),
    ("/model/revision", {"model": {"id": "a/b", "revision": "%"}}),
    ("/task/name", {"task": {"name": "%"}}),
    ("/task/dataset", {"task": {"dataset": "%"}}),
    ("/task/label_column", {"task": {"label_column": "%"}}),
    ("/task/text_columns/0", {"task": {"text_columns": ["%"]}}),
    ("/task/labels", {"task": {"labels": {"%": "a", "b": "c"}}}),
    ("/task/labels/0", {"task": {"labels": ["%", "a"]}}),
    ("/task/metric", {"task": {"metric": "%"}}),
    ("/prune/strategy", {"prune": {"strategy": "%"}}),
    ("/prune/calibration/dataset", {"prune": {"calibration": {"dataset": "%"}}}),
    ("/suffix", {"suffix": "%"}),
    ("/metadata", {"metadata": {"%": "x"}}),
    ("/metadata/a", {"metadata": {"a": "%"}}),
    ("/export/dtype", {"export": {"dtype": "%"}}),
    ("", {"%": 1}),
    ("/prune", {"prune": {"%": 1}}),
]


@pytest.mark.parametrize(("pointer", "fields"), TEXTS, ids=[str(number) for number in range(len(TEXTS))])
def test_a_text_without_end_is_refused_and_not_sent_back(
    refusing: TestClient, pointer: str, fields: dict[str, Any]
) -> None:
    content = json.dumps({"model": "a/b", "task": "sst2", **fields}).replace("%", "é" * 100_000)
    answer = refusing.post("/v1/jobs", content=content.encode())
    assert answer.status_code == 422, answer.text[:500]
    assert any(error["pointer"].startswith(pointer) for error in answer.json()["errors"]), answer.text[:500]
    assert len(answer.text) < 4000


def test_a_body_of_too_many_values_is_refused_before_it_is_read(refusing: TestClient) -> None:
    for many in (
        f'"seeds": [{"1," * MAX_VALUES}1]',
        f'"x": [{"[]," * MAX_VALUES}[]]',
        '"": ' * 5 * MAX_VALUES + "[," * 3000,
    ):
        answer = refusing.post("/v1/jobs", content=f'{{"model": "a/b", {many}}}')
        assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
        assert str(MAX_VALUES) in answer.json()["detail"]
        assert len(answer.text) < 1000


def test_commas_and_brackets_in_texts_are_no_values(client: TestClient, body: dict[str, Any]) -> None:
    texts = {f"key {number}": ('\\",[{' * 200)[:512] for number in range(16)}
    job = client.post("/v1/jobs", json={**body, "metadata": texts}).json()
    assert job["metadata"] == texts


def test_the_largest_request_that_makes_sense_is_read() -> None:
    layers = {"encoder": list(range(1024)), "decoder": list(range(1024))}
    body = {
        "model": "a/b",
        "task": {
            "dataset": "/data.csv", "text_columns": ["a", "b", "c", "d"], "label_column": "label",
            "labels": {f"word {number}": f"label, {number}" for number in range(1000)},
        },
        "prune": {"strategy": "explicit", "drop_layers": layers, "protect_layers": layers},
        "evaluation": {"seeds": list(range(10)), "latency": {"batch_sizes": [*range(1, 9)]}},
        "metadata": {f"key {number}": "," * 512 for number in range(16)},
    }  # fmt: skip
    assert parse_json(json.dumps(body).encode()) == body
    assert JobRequest.model_validate(body).prune.drop_layers == layers


def test_a_page_of_jobs_ends_where_it_would_grow_too_large(
    client: TestClient, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job has its request in it, twice."""
    monkeypatch.setattr("store.listing.PAGE_BYTES", 50_000)
    large = {**body, "metadata": {f"key {number}": "v" * 512 for number in range(16)}}
    ids = [client.post("/v1/jobs", json=sent).json()["id"] for sent in (body, large, large, large, large, body)]
    pages: list[list[str]] = []
    after: dict[str, str] | None = {}
    while after is not None:
        page = client.get("/v1/jobs", params={"limit": 100, **after}).json()
        pages.append([job["id"] for job in page["data"]])
        assert page["has_more"] == (page["next_cursor"] is not None)
        after = {"after": page["next_cursor"]} if page["has_more"] else None
    assert [job_id for page in pages for job_id in page] == ids[::-1]
    assert [len(page) for page in pages] == [3, 3]


def test_a_job_larger_than_a_page_is_a_page(
    client: TestClient, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.listing.PAGE_BYTES", 100)
    ids = [client.post("/v1/jobs", json=body).json()["id"] for _ in range(2)]
    first = client.get("/v1/jobs").json()
    assert [job["id"] for job in first["data"]] == [ids[1]]
    second = client.get("/v1/jobs", params={"after": first["next_cursor"]}).json()
    assert ([job["id"] for job in second["data"]], second["has_more"]) == ([ids[0]], False)


@pytest.mark.parametrize("found", [{"seed": 2**40}, {"limits": {"max_attempts": "3"}}, {"task": {"name": "gone"}}])
def test_what_another_version_resolved_does_not_spoil_the_list(
    client: TestClient, state: GatewayState, body: dict[str, Any], found: dict[str, Any]
) -> None:
    first, other = (client.post("/v1/jobs", json=body).json() for _ in range(2))
    with state.engine.begin() as connection:
        row = update(jobs).where(jobs.c.id == first["id"])
        connection.execute(row.values(resolved={**first["resolved"], **found}))
    listed = client.get("/v1/jobs").json()["data"]
    assert [job["resolved"] for job in listed] == [other["resolved"], None]
    assert client.get(first["urls"]["self"]).json()["request"] == body


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("prune", "it must be a text or an object; the fields of the object: strategy, "),
        ("recovery", "it must be a text or an object; the fields of the object: method, "),
        ("limits", "it must be an object; the fields of the object: max_runtime_seconds"),
        ("model", "it must be a text or an object; the fields of the object: id, revision"),
        ("webhook", "it must be a text or an object; the fields of the object: url, events"),
    ],
)
def test_what_should_be_an_object_is_answered_with_its_fields(
    client: TestClient, body: dict[str, Any], field: str, said: str
) -> None:
    answer = client.post("/v1/jobs", json={**body, field: 5})
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["pointer"]) == (422, f"/{field}")
    assert error["message"].startswith(said)


@pytest.mark.parametrize(
    ("part", "hint"),
    [
        ({"webhook": {"url": "https://example.org", "event": ["*"]}}, "did you mean events?"),
        ({"prune": {"objective": {"max_parms": 5}}}, "did you mean max_params"),
    ],
)
def test_an_unknown_field_of_a_part_that_may_be_null_has_its_near_names(
    client: TestClient, body: dict[str, Any], part: dict[str, Any], hint: str
) -> None:
    (error,) = client.post("/v1/jobs", json={**body, **part}).json()["errors"]
    assert hint in error["message"]
