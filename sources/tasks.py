"""The one door to a task's data, GLUE's and the user's own alike."""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass

from api_schemas.pruning import CalibrationSpec
from api_schemas.task_spec import TaskSpec
from api_schemas.tasks import Task
from sources.datasets import check_table, read_dataset
from sources.glue import check_glue, read_glue
from sources.rows import Rows
from sources.settings import SourceSettings
from sources.texts import check_texts

# What the gateway reads of a file before it accepts a job: some 100 000 short rows, a fraction of a second. The worker
# checks the rest.
CHECK_BYTES = 8 * 2**20


@dataclass(frozen=True)
class TaskData:
    """What a job learns from and is scored on.

    ``dev`` maps split to rows, the first being the one that the score is taken on; ``label_names`` are in id order,
    empty for a regression; ``metrics`` are names of ``METRICS``, the first being the score. ``positive`` is the id of
    the label that f1 is of; None where it is the mean of each label's.
    """

    train: Rows
    dev: dict[str, Rows]
    label_names: tuple[str, ...]
    regression: bool
    metrics: tuple[str, ...]
    positive: int | None = None

    @property
    def label_mean(self) -> float:
        """Of the numbers to learn; 0 where labels are names."""
        return statistics.fmean(self.train.labels) if self.regression else 0.0


def load_task(spec: TaskSpec, settings: SourceSettings, seed: int) -> TaskData:
    """The data of a task that trains (``spec.trains``); ``seed`` draws the dev split and ``max_train_rows``.

    Raises ``dataset_not_found``, ``dataset_not_allowed``, ``dataset_invalid`` and ``hub_unavailable``.
    """
    data = _load_glue(spec.glue, settings) if spec.glue else _load_own(spec, settings, seed)
    return TaskData(**{**vars(data), "train": _sample(data.train, spec.max_train_rows, seed)})


def check_dataset(spec: TaskSpec, settings: SourceSettings, calibration: CalibrationSpec | None = None) -> None:
    """Raise now what ``load_task``, and ``read_texts`` for a ``calibration``, would raise later.

    As far as the first ``CHECK_BYTES`` of local files tell.
    """
    if spec.glue:
        check_glue(spec.glue, settings, CHECK_BYTES)
    elif spec.trains:
        check_table(spec, settings, CHECK_BYTES)
    if calibration is not None and calibration.on_text:
        check_texts(calibration, settings, CHECK_BYTES)


def _load_glue(task: Task, settings: SourceSettings) -> TaskData:
    return TaskData(
        train=read_glue(task, "train", settings),
        dev={split: read_glue(task, split, settings) for split, _ in task.splits},
        label_names=task.label_names,
        regression=task.regression,
        metrics=task.metrics,
        positive=1 if len(task.label_names) == 2 else None,
    )


def _load_own(spec: TaskSpec, settings: SourceSettings, seed: int) -> TaskData:
    table = read_dataset(spec, settings, seed)
    metric = spec.metric or "accuracy"
    return TaskData(table.train, {"dev": table.dev}, table.label_names, not table.label_names, (metric,))


def _sample(rows: Rows, limit: int | None, seed: int) -> Rows:
    if limit is None or limit >= len(rows):
        return rows
    chosen = sorted(random.Random(seed).sample(range(len(rows)), limit))
    return rows.pick(chosen, f"{rows.source} ({limit} of {len(rows)} rows, seed {seed})")
