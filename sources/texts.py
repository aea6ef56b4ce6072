"""Plain text to measure layers on, and text to learn from beside labelled rows: where a request names it."""

from __future__ import annotations

import random

from api_schemas.pruning import CalibrationSpec
from api_schemas.task_spec import TaskSpec
from api_schemas.text_spec import TextSpec
from sources.rows import Rows, TextRow, hash_files
from sources.settings import SourceSettings
from sources.tables.bounds import LOOK_SECONDS
from sources.tables.data_file import DataFile
from sources.text_files import TextSource, all_texts, check_beginning, look_at, text_file_of, texts_in

CALIBRATION = "/prune/calibration/dataset"
UNLABELLED = "/recovery/text/dataset"


def read_texts(spec: CalibrationSpec, settings: SourceSettings, seed: int) -> Rows:
    """A sample of ``spec.rows`` texts, drawn with ``seed`` and in the order of the file; their labels are zeros.

    The file may be larger than memory. Raises ``dataset_not_found``, ``dataset_not_allowed`` and ``dataset_invalid``.
    """
    with text_file(spec, settings).pinned() as file:
        return _sample(spec, file, seed)


def _sample(spec: CalibrationSpec, file: DataFile, seed: int) -> Rows:
    draw, kept, total = random.Random(seed), dict[int, tuple[int, TextRow]](), 0
    for total, text in enumerate(texts_in(_calibration(spec), file), start=1):
        # Vitter's algorithm R: each text so far is as likely as any other to be among those kept.
        place = total - 1 if total <= spec.rows else draw.randrange(total)
        if place < spec.rows:
            kept[place] = (total, text)
    texts = [text for _, text in sorted(kept.values())]
    source = file.name if len(texts) == total else f"{file.name} ({len(texts)} of {total} rows, seed {seed})"
    return Rows(texts, [0] * len(texts), source, hash_files([file.path]))


def check_texts(spec: CalibrationSpec, settings: SourceSettings, limit: int) -> CalibrationSpec:
    """Raise what ``read_texts`` would for the first ``limit`` rows; the answer has the way decided that it is read."""
    given = text_file(spec, settings)
    if given.partial:
        check_beginning(_calibration(spec), given)
        return spec
    with given.within(LOOK_SECONDS).pinned() as file:
        return spec.model_copy(update={"read": look_at(_calibration(spec), file, limit).read})


def text_file(spec: CalibrationSpec, settings: SourceSettings) -> DataFile:
    """The file of ``spec``, which is on text; it is not read."""
    return text_file_of(spec.dataset or "", settings, _calibration(spec), CALIBRATION)


def _calibration(spec: CalibrationSpec) -> TextSource:
    columns = "/prune/calibration/text_columns"
    return TextSource(tuple(spec.text_columns), spec.read, columns, "measure layers on", differ=False)


def read_unlabelled(spec: TextSpec, task: TaskSpec, settings: SourceSettings) -> Rows:
    """All texts of ``recovery.text``, as many a row as the ``task`` reads; their labels are zeros.

    Raises as ``read_texts`` does.
    """
    with unlabelled_file(spec, task, settings).pinned() as file:
        return all_texts(_unlabelled(spec, task), file)


def check_unlabelled(spec: TextSpec, task: TaskSpec, settings: SourceSettings, limit: int) -> TextSpec:
    """As ``check_texts``, of ``read_unlabelled``; the answer has the columns too."""
    given = unlabelled_file(spec, task, settings)
    if given.partial:
        check_beginning(_unlabelled(spec, task), given)
        return spec
    with given.within(LOOK_SECONDS).pinned() as file:
        look = look_at(_unlabelled(spec, task), file, limit)
        return spec.model_copy(update={"read": look.read, "columns": list(look.columns)})


def unlabelled_file(spec: TextSpec, task: TaskSpec, settings: SourceSettings) -> DataFile:
    """The file of ``recovery.text``; it is not read."""
    return text_file_of(spec.dataset, settings, _unlabelled(spec, task), UNLABELLED)


def _unlabelled(spec: TextSpec, task: TaskSpec) -> TextSource:
    kind = task.task_kind
    ways = (task.glue.columns, task.glue.hub_columns) if task.glue else (tuple(task.text_columns) or ("text",),)
    return TextSource(
        tuple(spec.columns), spec.read, "/recovery/text/columns", "learn from", ways=tuple(dict.fromkeys(ways)),
        words=kind is not None and kind.labels == "tags",
    )  # fmt: skip
