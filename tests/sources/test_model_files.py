"""Which files of a model are taken, of all that have an allowed name."""

from __future__ import annotations

import pytest

from api_schemas.errors import LayercutError
from sources.model_files import is_allowed, is_exported, is_terms, needed_files

ONE = {"config.json": 100, "model.safetensors": 10**12, "vocab.txt": 10}


def test_one_file_of_weights_leaves_all_shards_out() -> None:
    beside = {f"model-{number}-of-x.safetensors": 10**12 for number in range(300)}
    assert needed_files({**ONE, **beside, "modeling.py": 5}, []) == ["config.json", "vocab.txt", "model.safetensors"]


def test_of_shards_those_that_the_index_lists_are_taken() -> None:
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = "model.safetensors.index.json"
    sizes = {"config.json": 100, index: 50, **dict.fromkeys(shards, 10**9), "model-00003-of-00003.safetensors": 10**12}
    assert needed_files(sizes, shards) == ["config.json", index, *shards]


def test_a_shard_by_another_name_is_refused() -> None:
    with pytest.raises(LayercutError, match=r"lists 'other\.safetensors'") as caught:
        needed_files({**ONE, "other.safetensors": 5}, ["other.safetensors"])
    assert caught.value.code == "model_invalid"


def test_modules_are_taken_where_they_were_checked() -> None:
    dense = ["1_Dense/config.json", "1_Dense/model.safetensors"]
    sizes = {**ONE, "modules.json": 5, **dict.fromkeys((*dense, "2_Dense/model.safetensors"), 10)}
    assert needed_files(sizes, [], ["modules.json", *dense]) == [
        "config.json", "vocab.txt", "modules.json", dense[0], "model.safetensors", dense[1],
    ]  # fmt: skip
    assert "1_Dense/model.safetensors" not in needed_files(sizes, [])


def test_a_few_licenses_of_their_usual_size_are_taken() -> None:
    many = {f"LICENSE{number:04}": 1000 for number in range(1000)}
    sizes = {**ONE, **many, "LICENSE": 10**9, "LICENSE/model.bin": 5, "README.md": 10}
    taken = set(needed_files(sizes, [])) - set(ONE)
    assert taken == {"README.md", *(f"LICENSE{number:04}" for number in range(5))}
    assert "README.md" not in needed_files({**sizes, "README.md": 10**9}, [])


@pytest.mark.parametrize("name", ["config.json", "merges.txt", "tokenizer.json", "modules.json"])
def test_a_small_file_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(LayercutError, match=f"{name} has {2**40} bytes; at most") as caught:
        needed_files({**ONE, name: 2**40}, [])
    assert caught.value.code == "model_invalid"


def test_what_is_taken_has_an_allowed_name() -> None:
    assert all(map(is_allowed, needed_files({**ONE, "LICENSE": 5, "README.md": 5, "modules.json": 5}, [])))


@pytest.mark.parametrize(
    ("name", "carried"),
    [
        ("LICENSE", True), ("LICENSE.md", True), ("LICENSE-APACHE", True), ("LICENSE-2.0.txt", True), ("NOTICE", True),
        ("NOTICE.txt", True), ("LICENSE_MODEL", True), ("LICENSE.rst", True), ("README.md", False),
        ("LICENSE.py", False), ("LICENSE.pkl", False), ("NOTICE.sh", False), ("LICENSES/x", False),
        ("LICENSE\n", False), ("LICENSE.", False), ("xLICENSE", False), ("LICENSE" + "-x" * 99, False),
    ],
)  # fmt: skip
def test_licenses_and_notices_go_with_the_model(name: str, carried: bool) -> None:
    assert is_terms(name) is carried
    if carried:
        assert is_exported(name)
        assert name in needed_files({**ONE, name: 10}, [])
