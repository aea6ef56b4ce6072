"""A kind of task that nobody knows yet: one row in the table and one file give all that a job does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import workers.kinds
from api_schemas.catalog import KindInfo
from api_schemas.plans import make_plan
from api_schemas.requests import ModelRef, PlanRequest
from api_schemas.task_kinds import TASK_KINDS, TaskKind
from sources.model_folder import folder_of, read_facts
from tests.support.tiny_models import tiny_model
from tests.support.whole_jobs import carry_out, own
from workers.settings import WorkerSettings

pytestmark = pytest.mark.slow

ROW = TaskKind("graded", "Classes that are learnt as points of a simplex.", "class", 4, ("accuracy",))

FILE = '''
"""One class a row, learnt by squared error."""

import torch.nn.functional as F

from workers.kinds.kind import Kind
from workers.runtime.loading import Head


class Graded(Kind):
    form = "classes"

    @property
    def head(self):
        return Head("AutoModelForSequenceClassification", self.labels, "single_label_classification")

    def label_loss(self, values, gold):
        return F.mse_loss(values, F.one_hot(gold, len(self.labels)).float())

    def teacher_loss(self, values, aim, recovery):
        return F.mse_loss(values, aim)

    def known(self, gold):
        return gold >= 0

    def judged(self, metric, answers, features, reference):
        return features.labels, answers.argmax(axis=1)


KIND = Graded
'''


@pytest.fixture
def graded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "kinds"
    folder.mkdir()
    (folder / "graded.py").write_text(FILE)
    monkeypatch.setattr(workers.kinds, "__path__", [*workers.kinds.__path__, str(folder)])
    TASK_KINDS.add(ROW)
    yield
    TASK_KINDS._rows.pop(ROW.name)


@pytest.mark.usefixtures("graded")
@pytest.mark.parametrize("strategy", ["top", "taylor", "greedy", "auto"])
def test_it_is_planned_trained_reported_and_proved(
    strategy: str, tmp_path: Path, settings: WorkerSettings, table: Path
) -> None:
    model = tiny_model("bert", tmp_path / "source", head="base", layers=4)
    task = own(table, kind="graded")
    body = {"model": str(model), "task": task, "prune": {"strategy": strategy, "drop": 2}}
    asked = PlanRequest.model_validate(body)
    facts = read_facts(folder_of(model, str(model)), ModelRef(id=str(model)))
    assert make_plan(asked.prune, facts, seed=1).layers_total == 4
    assert KindInfo.of(TASK_KINDS[asked.task.decided_kind]).metrics == ["accuracy"]

    recovery = {"epochs": 15, "learning_rate": 1e-3, "baseline_learning_rate": 1e-3, "batch_size": 8}
    done = carry_out({**body, "recovery": recovery}, settings)
    report = done.report
    assert (report.task.kind, report.task.metric) == ("graded", "accuracy")
    assert report.before.score == report.after.score == 100
    assert set(report.training) == {"baseline", "recovering"}
    assert report.verification.passed
    assert done.details()["pipeline"].startswith("text-classification: 2 answers")
    card = (done.folder / "README.md").read_text()
    assert "| accuracy | 100.00 | 100.00 |" in card
    assert "AutoModelForSequenceClassification" in card
