"""A config that describes more than the files hold is refused before memory is made of it."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path

import pytest

from api_schemas.errors import LayercutError
from api_schemas.requests import ModelRef
from sources.model_folder import folder_of, read_facts
from tests.support.tiny_models import tiny_model
from workers.kinds.table import plain_kind
from workers.runtime.loading import load_for_task, load_source


@pytest.mark.parametrize(
    ("architecture", "change"),
    [
        ("deberta-v2", {"position_buckets": 10**9}),
        ("t5", {"relative_attention_num_buckets": 10**9}),
        ("xlnet", {"d_inner": 10**9}),
        ("llama", {"intermediate_size": 10**9}),
        ("bert", {"type_vocab_size": 10**9}),
        ("modernbert", {"intermediate_size": 10**9}),
    ],
    ids=str,
)
def test_a_bomb_is_told_by_its_size(architecture: str, change: dict[str, int], tmp_path: Path) -> None:
    folder = tiny_model(architecture, tmp_path / "model", head="base", layers=2)
    facts = read_facts(folder_of(folder, "x"), ModelRef(id="x"))
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(LayercutError, match=r"describes a model of \d+ numbers, and the weights have \d+") as caught:
        load_source(folder, facts)
    assert caught.value.code == "model_invalid"
    with pytest.raises(LayercutError, match="describes a model of"):
        load_for_task(folder, plain_kind("classification", ("a", "b")).head, seed=0)
    assert time.process_time() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024
