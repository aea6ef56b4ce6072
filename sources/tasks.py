"""The one door to a task's data, GLUE's and the user's own alike."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from api_schemas.errors import LayercutError
from api_schemas.pruning import CalibrationSpec
from api_schemas.requests import JobRequest, PlanRequest
from api_schemas.task_kinds import TASK_KINDS
from api_schemas.task_spec import TaskSpec
from api_schemas.tasks import Task
from api_schemas.text_spec import TextSpec
from sources.data_warnings import pair_warnings, table_warnings, text_warnings
from sources.datasets import check_table, read_dataset
from sources.glue import check_glue, read_glue
from sources.pairs import check_pairs, read_pairs
from sources.rows import Rows
from sources.settings import SourceSettings
from sources.texts import check_texts, check_unlabelled, read_unlabelled

# What the gateway looks at before it accepts a job: all of most files, in seconds. The worker checks the rest.
CHECK_ROWS = 20_000_000
GLUE_BYTES = 8 * 2**20


@dataclass(frozen=True)
class TaskData:
    """What a job learns from and is scored on.

    ``dev`` maps split to rows, the first being the one that the score is taken on; ``label_names`` are in id order,
    empty where labels have none; ``kind`` is a name of ``TASK_KINDS``; ``metrics`` are names of ``METRICS``, the first
    being the score. ``positive`` is the id of the label that f1 is of; None where it is the mean of each label's.
    ``warnings`` are for the report. ``pairs`` are two texts a row, of an embedding, with the number that says how alike
    they are; ``text`` is what ``recovery.text`` names, with labels that are zeros: as many texts a row as the labelled
    rows have, or the words of a sentence where those are words.
    """

    train: Rows
    dev: dict[str, Rows]
    label_names: tuple[str, ...]
    kind: str
    metrics: tuple[str, ...]
    positive: int | None = None
    warnings: tuple[str, ...] = ()
    pairs: Rows | None = None
    text: Rows | None = None

    @property
    def label_mean(self) -> float:
        """Of the numbers to learn; 0 where labels are names."""
        return statistics.fmean(cast("Sequence[float]", self.train.labels)) if self.kind == "regression" else 0.0


def load_task(spec: TaskSpec, settings: SourceSettings, seed: int, text: TextSpec | None = None) -> TaskData:
    """The data of a task that trains (``spec.trains``), and of ``text``, which is ``recovery.text``. ``seed`` draws the
    dev split, ``max_train_rows`` and ``text.rows``.

    Raises ``dataset_not_found``, ``dataset_not_allowed``, ``dataset_invalid``, ``ceiling_passed`` and
    ``hub_unavailable``.
    """
    data = _load_glue(spec.glue, settings) if spec.glue else _load_own(spec, settings, seed)
    train = _sample(data.train, spec.max_train_rows, seed)
    _check_rows(len(train), settings, "task.max_train_rows", "/task/max_train_rows")
    pairs = read_pairs(spec.pairs, settings) if spec.pairs else None
    unlabelled = None
    if text is not None:
        unlabelled = _sample(read_unlabelled(text, spec, settings), text.rows, seed)
        _check_rows(len(train) + len(unlabelled), settings, "recovery.text.rows", "/recovery/text/rows")
    warnings = (*data.warnings, *pair_warnings(train, pairs), *text_warnings(data.dev, unlabelled))
    return replace(data, train=train, pairs=pairs, text=unlabelled, warnings=warnings)


def _check_rows(rows: int, settings: SourceSettings, field: str, param: str) -> None:
    if rows > settings.max_rows:
        raise LayercutError(
            "ceiling_passed",
            f"the data has {rows} rows to train on, more than the {settings.max_rows} that LAYERCUT_MAX_ROWS"
            f" allows; {field} takes a sample",
            param=param,
        )


Asked = TypeVar("Asked", JobRequest, PlanRequest)


def with_data(request: Asked, settings: SourceSettings) -> Asked:
    """``request`` with the way decided in which its files are read; raises what is wrong with them."""
    calibration = check_calibration(request.prune.calibration, settings)
    prune = request.prune.model_copy(update={"calibration": calibration})
    parts = {"task": check_dataset(request.task, settings), "prune": prune}
    if request.recovery.text is not None:
        text = check_unlabelled(request.recovery.text, request.task, settings, CHECK_ROWS)
        parts["recovery"] = request.recovery.model_copy(update={"text": text})
    return request.model_copy(update=parts)


def check_dataset(spec: TaskSpec, settings: SourceSettings) -> TaskSpec:
    """Raise now what ``load_task`` would raise later, as far as the first ``CHECK_ROWS`` rows of local files tell.

    The answer is the task with its kind, and the way decided in which its files are read.
    """
    if spec.glue:
        check_glue(spec.glue, settings, GLUE_BYTES)
    if spec.glue or not spec.trains:
        return spec
    pairs = check_pairs(spec.pairs, settings, CHECK_ROWS, GLUE_BYTES) if spec.pairs else None
    found = check_table(spec, settings, CHECK_ROWS)
    return found.model_copy(update={"kind": spec.decided_kind, "pairs": pairs})


def check_calibration(spec: CalibrationSpec, settings: SourceSettings) -> CalibrationSpec:
    """As ``check_dataset``, of ``read_texts``."""
    return check_texts(spec, settings, CHECK_ROWS) if spec.on_text else spec


def _load_glue(task: Task, settings: SourceSettings) -> TaskData:
    return TaskData(
        train=read_glue(task, "train", settings),
        dev={split: read_glue(task, split, settings) for split, _ in task.splits},
        label_names=task.label_names,
        kind=task.kind,
        metrics=task.metrics,
        positive=1 if len(task.label_names) == 2 else None,
    )


def _load_own(spec: TaskSpec, settings: SourceSettings, seed: int) -> TaskData:
    data = read_dataset(spec, settings, seed)
    assert spec.headline is not None
    return TaskData(
        train=data.train,
        dev={"dev": data.dev},
        label_names=data.label_names,
        kind=spec.decided_kind,
        metrics=tuple(
            dict.fromkeys(
                (spec.headline.name, *TASK_KINDS[spec.decided_kind].always, *(("spearman",) if spec.pairs else ()))
            )
        ),
        positive=data.positive,
        warnings=(*data.warnings, *table_warnings(spec, data.train, data.dev)),
    )


def _sample(rows: Rows, limit: int | None, seed: int) -> Rows:
    if limit is None or limit >= len(rows):
        return rows
    chosen = sorted(random.Random(seed).sample(range(len(rows)), limit))
    return rows.pick(chosen, f"{rows.source} ({limit} of {len(rows)} rows, seed {seed})")
