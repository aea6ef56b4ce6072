"""Pairs of texts with a number that says how alike they are: what the vectors of an embedding are compared with."""

from __future__ import annotations

from api_schemas.task_spec import PairsSpec, TaskSpec
from api_schemas.tasks import TASKS, Task
from sources.datasets import READERS, unknown_kind
from sources.glue import check_glue, read_glue
from sources.heads import check_head
from sources.rows import Rows
from sources.settings import SourceSettings
from sources.tables.data_file import DataFile, allowed_file
from sources.tables.table import FORMATS

PARAM = "/task/pairs/dataset"
TEXTS, SCORE = ("sentence1", "sentence2"), "score"
FEWEST = 2
NUMBERS = READERS["number"]


def glue_pairs(spec: PairsSpec) -> tuple[Task, str] | None:
    """The GLUE task, and the split of it that is scored on; None for a file of the user's own."""
    if spec.name is None:
        return None
    task = TASKS[spec.name]
    return task, task.splits[0][0]


def pairs_file(spec: PairsSpec, settings: SourceSettings) -> DataFile:
    """The user's own file; it is not read."""
    file = allowed_file(spec.dataset or "", settings, PARAM)
    if not (file.path.is_file() and file.kind in FORMATS):
        raise unknown_kind(file.name, tuple(FORMATS), PARAM)
    return file


def read_pairs(spec: PairsSpec, settings: SourceSettings) -> Rows:
    """Two texts and a number a row. Raises as ``load_task`` does, with a field under ``/task/pairs``."""
    if glue := glue_pairs(spec):
        return read_glue(*glue, settings)
    file = pairs_file(spec, settings)
    rows, _ = NUMBERS.read(_as_regression(spec), file, None)
    _check_count(file, len(rows))
    return rows


def check_pairs(spec: PairsSpec, settings: SourceSettings, limit: int, glue_bytes: int) -> PairsSpec:
    """As ``check_table``, of ``read_pairs``."""
    if glue := glue_pairs(spec):
        check_glue(glue[0], settings, glue_bytes, splits=[glue[1]])
        return spec
    file = pairs_file(spec, settings)
    if file.partial:
        as_task = _as_regression(spec)
        check_head(file, [[*as_task.text_columns, as_task.label_column or SCORE]], spec.read)
        return spec
    look = NUMBERS.look(_as_regression(spec), file, None, limit)
    _check_count(file, look.rows)
    return spec.model_copy(update={"read": look.read})


def _check_count(file: DataFile, rows: int) -> None:
    if rows < FEWEST:
        raise file.error("one pair alone is no order that could be compared: give more")


def _as_regression(spec: PairsSpec) -> TaskSpec:
    return TaskSpec(
        dataset=spec.dataset, text_columns=spec.text_columns or [*TEXTS], label_column=spec.label_column or SCORE,
        kind="regression", read=spec.read,
    )  # fmt: skip
