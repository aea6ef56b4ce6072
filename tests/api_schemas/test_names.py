"""Names as people write them, and which of ours is near."""

from __future__ import annotations

from typing import Any

import pytest

from api_schemas.names import hint, loose, near, spelled
from api_schemas.registry import Registry
from api_schemas.requests import JobRequest
from api_schemas.strategies import STRATEGIES
from api_schemas.task_kinds import TASK_KINDS
from api_schemas.tasks import TASKS

OWN = {"dataset": "/data/a.csv", "text_columns": ["text"], "label_column": "label"}


def request(**parts: Any) -> JobRequest:
    return JobRequest.model_validate({"model": "acme/bert", "task": "rte", **parts})


@pytest.mark.parametrize("table", [TASKS, STRATEGIES, TASK_KINDS])
def test_every_name_is_found_however_it_is_spelled(table: Registry[Any]) -> None:
    for name, row in table.items():
        for other in (name.upper(), name.replace("_", "-"), name.replace("-", " ").title(), f" {name} "):
            assert table.find(other) is row


def test_tasks_are_called_as_their_folders_are() -> None:
    assert {row.name: request(task=row.folder).task.name for row in TASKS.values()} == {name: name for name in TASKS}


def test_a_request_says_the_name_of_the_table() -> None:
    found = request(task="SST-2", prune="Alternate-Odd")
    assert (found.task.name, found.prune.strategy) == ("sst2", "alternate_odd")
    own = request(task={**OWN, "kind": "Multi Label", "metric": "Micro-F1"}).task
    assert (own.kind, own.metric) == ("multi-label", "micro_f1")
    vectors = request(task={"dataset": "/data/a.txt", "kind": "Embedding", "pairs": "STS-B"}, prune="AUTO").task
    assert (vectors.decided_kind, vectors.pairs and vectors.pairs.name) == ("embedding", "stsb")
    assert not request(task="None").trains
    assert request(task={**OWN, "kind": "Auto"}).task.decided_kind == "classification"


def test_two_names_that_are_spelled_alike_are_refused_in_a_table() -> None:
    with pytest.raises(ValueError, match="stands in the table twice"):
        Registry("task", "unknown_task", (TASKS["sst2"], type(TASKS["sst2"])("SST-2", "", (), "", (), ())))


def test_near_names() -> None:
    names = ["drop", "drop_ratio", "drop_layers", "matthews_correlation", "f1"]
    assert near("dropRatio", names) == ["drop_ratio"]
    assert near("matthews", names) == ["matthews_correlation"]
    assert near("drop_ration", names)[0] == "drop_ratio"
    assert hint("zzz", names).startswith("known: drop, ")
    assert spelled("DROP-ratio", names) == "drop_ratio"
    assert spelled(["drop"], names) == ["drop"]
    assert loose("SST-2") == loose("sst_2") == "sst2"


def test_one_may_stand_for_a_list_of_one() -> None:
    own = request(task={"dataset": "/data/a.csv", "text_columns": "text", "label_column": "label"})
    assert own.task.text_columns == ["text"]
    several = request(task={"dataset": "/data/a.csv", "kind": "multi-label", "text_columns": "t", "label_columns": "l"})
    assert several.task.label_columns == ["l"]
    calibration = {"source": "text", "dataset": "/data/a.csv", "text_columns": "body"}
    text = {"dataset": "/data/b.csv", "columns": "body"}
    both = request(
        prune={"strategy": "contribution", "calibration": calibration}, recovery={"text": text},
        evaluation={"seeds": 7, "latency": {"batch_sizes": 8, "sequence_lengths": 64}}, task="sst2",
    )  # fmt: skip
    assert both.prune.calibration.text_columns == ["body"]
    assert both.recovery.text is not None
    assert both.recovery.text.columns == ["body"]
    assert (both.seeds, both.evaluation.latency.batch_sizes) == ([7], [8])


def test_a_recovery_may_be_its_method_alone() -> None:
    assert request(recovery="none").recovery.method == "none"
    assert request(recovery="finetune").recovery.method == "finetune"
