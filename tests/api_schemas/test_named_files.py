"""Where a request names files: every field that is a path, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from api_schemas.named_files import PLACES, rename_files
from api_schemas.requests import JobRequest

SCHEMA = JobRequest.model_json_schema()
#: Of ``DataPath``, and of nothing else in a request.
LONGEST_PATH = 4096


def paths(schema: dict[str, Any], way: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The ways to all fields that are paths of data."""
    if schema.get("maxLength") == LONGEST_PATH:
        yield way
    if "$ref" in schema:
        yield from paths(SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[-1]], way)
    for part in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from paths(part, way)
    for name, part in schema.get("properties", {}).items():
        yield from paths(part, (*way, name))


def test_every_path_of_data_in_a_request_is_a_place() -> None:
    assert set(paths(SCHEMA)) == {place for what, place in PLACES if what == "dataset"}


@pytest.mark.parametrize(
    ("asked", "renamed"),
    [
        ({"model": "a/b", "task": "sst2"}, {"model": "<a/b>", "task": "sst2"}),
        ({"model": {"id": "x", "revision": "y"}}, {"model": {"id": "<x>", "revision": "y"}}),
        ({"model": "job:job_1", "task": {"dataset": "upload:upl_1"}}, None),
        (
            {"model": "s3://b/x", "task": {"dataset": "d", "dev": 7}},
            {"model": "s3://b/x", "task": {"dataset": "<d>", "dev": 7}},
        ),
        (
            {"prune": "top", "recovery": {"text": {"dataset": "t"}}},
            {"prune": "top", "recovery": {"text": {"dataset": "<t>"}}},
        ),
        (["no", "request"], None),
    ],
)
def test_only_paths_are_renamed_and_the_request_stays_as_it_was(asked: Any, renamed: Any) -> None:
    before = repr(asked)
    assert rename_files(asked, lambda what, name, param: f"<{name}>") == (asked if renamed is None else renamed)
    assert repr(asked) == before


def test_it_is_said_what_and_where_the_path_is() -> None:
    told: list[tuple[str, str, str]] = []

    def note(what: str, name: str, param: str) -> str:
        told.append((what, name, param))
        return name

    rename_files({"model": {"id": "m"}, "task": {"pairs": {"dataset": "p"}}}, note)
    assert told == [("model", "m", "/model/id"), ("dataset", "p", "/task/pairs/dataset")]
