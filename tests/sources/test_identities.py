"""What a search and the importance of layers are kept under: the rows that are learnt from, and not what is beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api_schemas.requests import PlanRequest
from sources.fingerprint import FileHashes
from sources.importance import Asked, identify, importance_fingerprint, search_fingerprint
from sources.models import inspect
from sources.settings import SourceSettings
from tests.support.embedding_models import add_modules
from tests.support.tiny_checkpoints import WIDTH, bert_files

POOLED = {"word_embedding_dimension": WIDTH, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}


class Asking:
    """A model, and files beside it, under one root."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.model = folder, folder / "m"
        self.model.mkdir()
        for name, content in bert_files().items():
            (self.model / name).write_bytes(content)
        self.settings = SourceSettings(model_roots=[folder], data_roots=[folder])

    def write(self, name: str, content: str) -> str:
        (self.folder / name).write_text(content)
        return str(self.folder / name)

    def fingerprints(self, task: dict[str, Any], **recovery: Any) -> tuple[str, str]:
        """Of a search, and of the importance of layers in the trained model."""
        found = []
        for strategy, fingerprint in (("auto", search_fingerprint), ("contribution", importance_fingerprint)):
            request = PlanRequest.model_validate({
                "model": str(self.model), "task": task, "prune": {"strategy": strategy, "drop": 1},
                "recovery": recovery,
            })  # fmt: skip
            facts = inspect(request.model, self.settings)
            assert facts is not None
            asked = Asked.by_plan(request, facts)
            read = identify(asked, facts, self.settings, FileHashes(self.folder / "hashes"))
            found.append(fingerprint(asked, facts, read))
        return found[0] or "", found[1] or ""


@pytest.fixture
def asking(tmp_path: Path) -> Asking:
    return Asking(tmp_path)


def labelled(asking: Asking, **more: Any) -> dict[str, Any]:
    path = asking.write("rows.csv", "text,label\na,x\nb,y\nc,x\nd,y\n")
    return {"dataset": path, "text_columns": ["text"], "label_column": "label", **more}


def test_unlabelled_text_is_part_of_a_search_by_its_content_alone(asking: Asking) -> None:
    task = labelled(asking)
    one, copy = asking.write("one.txt", "e\nf\n"), asking.write("copy.txt", "e\nf\n")
    other = asking.write("other.txt", "e\ng\n")
    without = asking.fingerprints(task)
    asked = [asking.fingerprints(task, text={"dataset": path}) for path in (one, copy, other)]
    sampled = asking.fingerprints(task, text={"dataset": one, "rows": 1})
    searches = [search for search, _ in (without, *asked, sampled)]
    assert searches[1] == searches[2]
    assert len({*searches}) == 4
    assert {importance for _, importance in (without, *asked, sampled)} == {without[1]}


def test_a_word_for_the_effort_is_no_part_of_a_search(asking: Asking) -> None:
    task = labelled(asking)
    numbers = {"epochs": 2.0, "baseline_epochs": 2.0}
    assert len({asking.fingerprints(task, effort=word, **numbers) for word in ("quick", "standard", "high")}) == 1


def test_kinds_and_how_labels_are_written_are_told_apart(asking: Asking) -> None:
    task = labelled(asking)
    kinds = [task, {**task, "kind": "multi-label"}, {**task, "kind": "multi-label", "label_separator": "|"}]
    columns = {name: task[name] for name in ("dataset", "text_columns")}
    kinds += [{**columns, "kind": "multi-label", "label_columns": [name]} for name in ("label", "text")]
    assert len({asking.fingerprints(kind) for kind in kinds}) == len(kinds)
    assert asking.fingerprints({**kinds[1], "label_separator": ","}) == asking.fingerprints(kinds[1])


def removal(asking: Asking, task: Any, text: str) -> str:
    """The fingerprint of greedy's importance of the model as it came, measured on ``text``."""
    request = PlanRequest.model_validate({
        "model": str(asking.model), "task": task, "recovery": {"method": "none"},
        "prune": {"strategy": "greedy", "drop": 1, "calibration": {"dataset": text}},
    })  # fmt: skip
    facts = inspect(request.model, asking.settings)
    assert facts is not None
    asked = Asked.by_plan(request, facts)
    read = identify(asked, facts, asking.settings, FileHashes(asking.folder / "hashes"))
    return importance_fingerprint(asked, facts, read) or ""


def test_how_a_model_answers_is_part_of_what_its_layers_are_worth(asking: Asking) -> None:
    """With a task it answers by its head for that, without one by its states."""
    add_modules(asking.model, POOLED)
    text = asking.write("text.txt", "a\nb\nc\n")
    embedding = {"kind": "embedding", "dataset": text}
    found = [removal(asking, task, text) for task in ("none", embedding, labelled(asking))]
    assert len({*found}) == 3
    assert "" not in found


def test_another_pooling_over_the_same_weights_is_another_model(asking: Asking) -> None:
    add_modules(asking.model, POOLED)
    task = {"kind": "embedding", "dataset": asking.write("texts.txt", "a\nb\nc\n")}
    before = asking.fingerprints(task)
    config = asking.model / "1_Pooling" / "config.json"
    config.write_text(config.read_text().replace("false", "null").replace("true", "false").replace("null", "true"))
    after = asking.fingerprints(task)
    assert before[0] != after[0]
    assert before[1] != after[1]
