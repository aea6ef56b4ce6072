"""A job on a cache that a hostile one has written to makes its own, and says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from api_schemas.events import EventType, NewEvent
from sources.cached_files import Unusable, as_importance
from sources.importance import FILE, KIND
from tests.support.tiny_models import tiny_model
from workers.cache.folder import FolderCache
from workers.stages.cache_codecs import WEIGHTS, load_baseline, save_baseline
from workers.stages.job_cache import JobCache
from workers.stages.progress import ProgressReporter
from workers.training.trainer_state import TrainResult

FINGERPRINT = "a" * 64
OWN: dict[str, Any] = {"taylor": [0.5, 0.25]}


def left(cache: FolderCache, content: str) -> None:
    def write(folder: Path) -> None:
        (folder / FILE).write_text(content)

    cache.put(KIND, FINGERPRINT, write, 1.0)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"taylor": [0.5]}', '{"taylor": [NaN, 1]}', '{"other": [1, 2]}'])
def test_what_cannot_be_used_is_made_by_the_job_itself(tmp_path: Path, content: str) -> None:
    events: list[NewEvent] = []
    cache = FolderCache(tmp_path / "cache", 1 << 30)
    left(cache, content)
    form = partial(as_importance, layers=2, measure="taylor")
    found = JobCache(cache, ProgressReporter(events.append)).share(KIND, FINGERPRINT, lambda: OWN, form)

    assert found == OWN
    assert [event.type for event in events] == [EventType.LOG], "nothing was reused"
    assert "the job makes its own" in events[0].message
    assert str(tmp_path) not in events[0].message


def test_what_can_be_used_is(tmp_path: Path) -> None:
    cache = FolderCache(tmp_path / "cache", 1 << 30)
    left(cache, json.dumps(OWN))
    form = partial(as_importance, layers=2, measure="taylor")
    assert JobCache(cache, ProgressReporter(lambda _: None)).share(KIND, FINGERPRINT, pytest.fail, form) == OWN


TRAINED = TrainResult(
    steps=1, examples=8, tokens=80, seconds=1.0, loss=0.5, precision="fp32", learning_rate=0.001, micro_batch=8,
    engine="plain", word_embeddings=True, best_score=None, best_epoch=None,
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    found: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
        tiny_model("bert", tmp_path_factory.mktemp("source") / "bert")
    )
    return found


def _misshapen(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor[:1].clone() for name, tensor in tensors.items()}


def _fewer(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return dict(list(tensors.items())[1:])


def _more(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**tensors, "another": torch.zeros(1)}


@pytest.mark.parametrize("change", [_misshapen, _fewer, _more])
def test_weights_that_are_not_the_models_leave_it_as_it_is(
    tmp_path: Path, model: PreTrainedModel, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> None:
    save_baseline(model, TRAINED, tmp_path)
    assert load_baseline(model, tmp_path) == TRAINED
    changed = {name: tensor + 1 for name, tensor in change(load_file(tmp_path / WEIGHTS)).items()}
    save_file(changed, tmp_path / WEIGHTS)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(Unusable, match=WEIGHTS):
        load_baseline(model, tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("file", "content"),
    [(WEIGHTS, b"\xff" * 100), ("trained.json", b'{"steps": "many"}'), ("trained.json", b"[" * 10_000)],
)
def test_a_baseline_with_a_broken_file_is_unusable(
    tmp_path: Path, model: PreTrainedModel, file: str, content: bytes
) -> None:
    save_baseline(model, TRAINED, tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(Unusable):
        load_baseline(model, tmp_path)
