"""The user's own data: which files, how they are read, and which rows to score on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from api_schemas.errors import LayercutError
from api_schemas.task_kinds import TASK_KINDS, LabelForm
from api_schemas.task_spec import TaskSpec
from sources.heads import check_head
from sources.label_forms.form import Form, read_of, too_few
from sources.label_forms.label_sets import LabelSets
from sources.label_forms.one_label import OneLabel
from sources.label_forms.tags import Tags
from sources.label_forms.text_alone import TextAlone
from sources.own_labels import positive_of
from sources.rows import Rows
from sources.settings import SourceSettings
from sources.tables.data_file import DataFile, allowed_file

TRAIN_STEMS = ("train",)
DEV_STEMS = ("dev", "validation", "valid")

#: What reads and checks the files, by what the labels of a task's kind are.
READERS: Final[Mapping[LabelForm | None, Form]] = {
    "class": OneLabel("class"),
    "number": OneLabel("number"),
    "classes": LabelSets(),
    "tags": Tags(),
    None: TextAlone(),
}


@dataclass(frozen=True)
class OwnData:
    """The user's data. ``label_names`` are in id order; empty where labels have none. ``positive`` as in ``TaskData``.

    ``warnings`` are of what was read.
    """

    train: Rows
    dev: Rows
    label_names: tuple[str, ...]
    positive: int | None
    warnings: tuple[str, ...] = ()


def read_dataset(spec: TaskSpec, settings: SourceSettings, seed: int) -> OwnData:
    """``spec.dataset`` as rows to learn from and rows to score on.

    Without a dev file, a tenth of the rows, drawn with ``seed``, is kept aside: of classes from each alike. Raises
    ``dataset_not_found``, ``dataset_not_allowed`` and ``dataset_invalid`` (with file and line).
    """
    reader = reader_of(spec)
    train_file, dev_file = table_files(spec, settings)
    train, learnt = reader.read(spec, train_file, None)
    positive = _positive(spec, learnt.names)
    if dev_file is None:
        parts = reader.split(train, seed)
        return OwnData(parts.train, parts.dev, learnt.names, positive, (*learnt.warnings, *parts.warnings))
    dev, seen = reader.read(spec, dev_file, learnt)
    return OwnData(train, dev, learnt.names, positive, (*learnt.warnings, *seen.warnings))


def check_table(spec: TaskSpec, settings: SourceSettings, limit: int) -> TaskSpec:
    """Raise what ``read_dataset`` would, as far as the first ``limit`` rows of each file tell.

    The answer is the task with the way decided in which its files are read.
    """
    reader = reader_of(spec)
    train_file, dev_file = table_files(spec, settings)
    if train_file.partial:
        _check_heads(spec, train_file, dev_file)
        return spec
    train = reader.look(spec, train_file, None, limit)
    _positive(spec, train.learnt.names)
    if dev_file is None:
        if not train.splits:
            raise too_few(train_file.name, train.rows)
        return spec.model_copy(update={"read": train.read})
    if dev_file.partial:
        _check_heads(spec, dev_file)
        return spec.model_copy(update={"read": train.read})
    dev = reader.look(spec, dev_file, train.learnt, limit)
    return spec.model_copy(update={"read": train.read, "dev_read": dev.read})


def _check_heads(spec: TaskSpec, *files: DataFile | None) -> None:
    texts = spec.text_columns or ["text"]
    columns = [*texts, *([spec.label_column] if spec.label_column else ()), *spec.label_columns]
    for file in files:
        if file is not None:
            check_head(file, [columns], read_of(spec, file), lists=columns)


def reader_of(spec: TaskSpec) -> Form:
    return READERS[TASK_KINDS[spec.decided_kind].labels]


def _positive(spec: TaskSpec, names: tuple[str, ...]) -> int | None:
    return positive_of(spec, names) if TASK_KINDS[spec.decided_kind].labels == "class" else None


def table_files(spec: TaskSpec, settings: SourceSettings) -> tuple[DataFile, DataFile | None]:
    """The training file, and the dev file if there is one; neither is read."""
    given, suffixes = spec.dataset or "", reader_of(spec).suffixes
    train: DataFile | None = allowed_file(given, settings, "/task/dataset")
    dev = allowed_file(spec.dev, settings, "/task/dev") if spec.dev else None
    if train and train.path.is_dir():
        dev = dev or _member(train, DEV_STEMS, suffixes, settings)
        train = _member(train, TRAIN_STEMS, suffixes, settings)
    if train is None:
        raise no_training_file(given, suffixes)
    for file in (train, dev):
        if file is not None and not (file.path.is_file() and file.kind in suffixes):
            raise unknown_kind(file.name, suffixes, file.param)
    if dev is not None and (dev.name == train.name or (dev.root is not None and dev.path == train.path)):
        raise LayercutError("dataset_invalid", "the dev file is the training file itself", param="/task/dev")
    return train, dev


def member(names: Collection[str], stems: Sequence[str], suffixes: Collection[str]) -> str | None:
    """The first of the files called by one of ``stems`` that is among ``names``."""
    wanted = (f"{stem}{suffix}" for stem in stems for suffix in suffixes)
    return next((name for name in wanted if name in names), None)


def no_training_file(folder: str, suffixes: Collection[str]) -> LayercutError:
    known = ", ".join(f"train{suffix}" for suffix in suffixes)
    return LayercutError(
        "dataset_not_found", f"the folder {folder!r} has no training file: {known}", param="/task/dataset"
    )


def unknown_kind(name: str, suffixes: Collection[str], param: str) -> LayercutError:
    return LayercutError(
        "dataset_invalid", f"{name!r} is not a file of a known kind: {', '.join(suffixes)}", param=param
    )


def _member(
    folder: DataFile, stems: tuple[str, ...], suffixes: tuple[str, ...], settings: SourceSettings
) -> DataFile | None:
    names = [f"{stem}{suffix}" for stem in stems for suffix in suffixes]
    found = member([name for name in names if (folder.path / name).exists()], stems, suffixes)
    return None if found is None else allowed_file(f"{folder.name.rstrip('/')}/{found}", settings, folder.param)
