"""What a hostile runner could have left in the cache is as if it were not there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, get_args

import pytest

from sources.beneath import LeadsOut
from sources.cached_files import (
    KINDS,
    LIMITS,
    Unusable,
    as_bracket,
    as_importance,
    bracket_limit,
    check_files,
    importance_limit,
    parse_json,
    read_json,
)
from sources.importance import BRACKET, BRACKET_FILE, FILE, KIND
from workers.protocol import CacheKind

TRIAL = {"steps": 5, "distance": 0.1, "score": 80}
BRACKET_TEXT = {
    "drop": 2,
    "rows": 10,
    "baseline_score": 90.0,
    "steps": 5,
    "candidates": [{"dropped": [4, 5], "strategies": ["top"], "trials": [TRIAL]}],
}


def test_every_kind_of_thing_has_a_ceiling_and_every_file_a_limit() -> None:
    assert set(KINDS) == set(get_args(CacheKind))
    assert all(name in LIMITS for kind in KINDS.values() for name in kind.files)
    assert (KINDS[KIND].files, KINDS[BRACKET].files) == ((FILE,), (BRACKET_FILE,))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "not JSON"),
        (b"[" * 10_000, "deep|not JSON"),
        (b"[" * 40 + b"]" * 40, "deep"),
        (b'{"a": NaN}', "finite"),
        (b'{"a": [1e999]}', "finite"),
        (b'"\xff"', "UTF-8"),
        (b"[" + b"1," * 60_000 + b"1]", "values"),
        (b" " * (LIMITS[BRACKET_FILE].bytes + 1), "bytes"),
    ],
    ids=["half", "deep", "deeper", "nan", "infinite", "bytes", "many", "large"],
)
def test_a_file_beyond_its_bounds_is_unusable(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / BRACKET_FILE).write_bytes(content)
    with pytest.raises(Unusable, match=why):
        read_json(tmp_path / BRACKET_FILE)
    with pytest.raises(Unusable):
        check_files(BRACKET, tmp_path)


def test_a_sparse_file_of_a_terabyte_costs_no_memory(tmp_path: Path) -> None:
    with (tmp_path / FILE).open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(Unusable, match="bytes"):
        read_json(tmp_path / FILE)


def test_what_is_no_regular_file_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / FILE)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / FILE).symlink_to("/etc/hostname")
    for folder in ("a", "b", "nowhere"):
        with pytest.raises(Unusable) as caught:
            read_json(tmp_path / folder / FILE)
        assert not isinstance(caught.value, LeadsOut)
        assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize(
    "found",
    [
        [],
        {},
        {"taylor": [0.1] * 6},
        {"block_influence": [0.1] * 5},
        {"block_influence": [0.1] * 7},
        {"block_influence": ["0.1"] * 6},
        {"block_influence": [True] * 6},
        {"block_influence": [[0.1] * 6] * 6},
        {"block_influence": [0.1] * 6, "angular_distance": [[0.1] * 6] * 6},
        {"block_influence": [0.1] * 6, **{str(number): [0.1] * 6 for number in range(20)}},
    ],
)
def test_importance_that_is_not_of_the_model_is_unusable(found: Any) -> None:
    with pytest.raises(Unusable):
        as_importance(found, 6, "block_influence")


def test_importance_of_the_model_is_taken() -> None:
    found = {"block_influence": [0.1] * 6, "angular_distance": [[0.1] * 7] * 7}
    assert as_importance(found, 6, "block_influence") == found


@pytest.mark.parametrize(
    "change",
    [
        {"drop": 3},
        {"rows": "x"},
        {"candidates": []},
        {"candidates": [{"dropped": [4, 9], "strategies": [], "trials": [{"steps": 1, "distance": 0, "score": 0}]}]},
        {"candidates": [{"dropped": [4, 4], "strategies": [], "trials": [{"steps": 1, "distance": 0, "score": 0}]}]},
        {"candidates": [{"dropped": [4, 5], "strategies": [], "trials": []}]},
        {"candidates": [{"dropped": [4, 5], "strategies": [], "trials": [TRIAL] * 100}]},
        {"candidates": [{"dropped": [4, 5], "strategies": [], "trials": [TRIAL]}] * 100},
    ],
)
def test_a_bracket_that_is_not_of_the_model_is_unusable(change: dict[str, Any]) -> None:
    assert as_bracket(json.loads(json.dumps(BRACKET_TEXT)), 6, 2).best.dropped == [4, 5]
    with pytest.raises(Unusable):
        as_bracket({**BRACKET_TEXT, **change}, 6, 2)


@pytest.mark.parametrize("layers", [2, 12, 96, 1024])
def test_what_a_job_leaves_of_any_model_is_within_its_limit(layers: int) -> None:
    number = 0.12345678901234567e-10
    rows = {f"measure {place}": [number] * layers for place in range(6)}
    importance = {**rows, "angular_distance": [[number] * (layers + 1)] * (layers + 1)}
    trial = {"steps": 100_000, "distance": number, "score": number}
    names = ["parameter_aggregate"] * 16
    candidates = [{"dropped": list(range(layers - 1)), "strategies": names, "trials": [trial] * 6}] * 16
    bracket = {**BRACKET_TEXT, "drop": layers - 1, "candidates": candidates}

    found = parse_json(json.dumps(importance).encode(), FILE, importance_limit(layers))
    assert as_importance(found, layers, "measure 1") == importance
    found = parse_json(json.dumps(bracket).encode(), BRACKET_FILE, bracket_limit(layers))
    assert as_bracket(found, layers, layers - 1).best.dropped == list(range(layers - 1))
