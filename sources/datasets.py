"""The user's own table: which files, which rows, which labels, and which rows to score on."""

from __future__ import annotations

import math
import random
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from api_schemas.errors import LayercutError
from api_schemas.labels import label_text
from api_schemas.read_spec import ReadSpec
from api_schemas.task_spec import TaskSpec
from sources.own_labels import Classes, classes_of, no_class, positive_of
from sources.rows import Rows, hash_files
from sources.settings import SourceSettings
from sources.stored_texts import StoredTexts
from sources.tables.data_file import DataFile, allowed_file
from sources.tables.duck import literal
from sources.tables.table import FORMATS, LabelKind, Profile, Table

DEV_SHARE = 0.1

TRAIN_STEMS = ("train",)
DEV_STEMS = ("dev", "validation", "valid")

NO_NUMBER = "the task is a regression and needs numbers"


@dataclass(frozen=True)
class OwnData:
    """The user's data. ``label_names`` are in id order; empty for a regression. ``positive`` as in ``TaskData``."""

    train: Rows
    dev: Rows
    label_names: tuple[str, ...]
    positive: int | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Learnt:
    """What is learnt of a row's label, as ``take`` gives it: an id or a number, or None where there is none."""

    classes: Classes | None

    def take(self, label: Any) -> int | float | None:
        if self.classes is not None:
            return self.classes.ids.get(label)
        return label if label is not None and math.isfinite(label) else None


def read_dataset(spec: TaskSpec, settings: SourceSettings, seed: int) -> OwnData:
    """``spec.dataset`` as rows to learn from and rows to score on.

    Without a dev file, a tenth of the rows, drawn with ``seed`` from every label alike, is kept aside. Raises
    ``dataset_not_found``, ``dataset_not_allowed`` and ``dataset_invalid`` (with file and line).
    """
    train_file, dev_file = table_files(spec, settings)
    with _opened(spec, train_file) as table:
        learnt = _checked(spec, table)
        train = _rows(table, learnt)
    names = learnt.classes.names if learnt.classes else ()
    positive, warnings = positive_of(spec, names), _spellings(learnt)
    if dev_file is None:
        parts = _split(train, stratify=bool(names), seed=seed)
        return OwnData(*parts, names, positive, warnings)
    with _opened(spec, dev_file) as table:
        return OwnData(train, _rows(table, _checked(spec, table, learnt)), names, positive, warnings)


def check_table(spec: TaskSpec, settings: SourceSettings, limit: int) -> TaskSpec:
    """Raise what ``read_dataset`` would, as far as the first ``limit`` rows of each file tell.

    The answer is the task with the way decided in which its files are read.
    """
    train_file, dev_file = table_files(spec, settings)
    with _opened(spec, train_file, limit) as table:
        learnt, profile, read = _checked(spec, table), table.profile, table.read
    if learnt.classes:
        positive_of(spec, learnt.classes.names)
    if dev_file is None:
        if profile.rows < 3 or (learnt.classes and max(_counts(learnt.classes, profile).values()) < 2):
            raise _too_few(train_file.name, profile.rows)
        return spec.model_copy(update={"read": read})
    with _opened(spec, dev_file, limit) as table:
        _checked(spec, table, learnt)
        return spec.model_copy(update={"read": read, "dev_read": table.read})


def _counts(classes: Classes, profile: Profile) -> Counter[int]:
    """Rows by the label's id."""
    counts: Counter[int] = Counter()
    for label, id in classes.ids.items():
        counts[id] += profile.labels.get(label, 0)
    return counts


def table_files(spec: TaskSpec, settings: SourceSettings) -> tuple[DataFile, DataFile | None]:
    """The training file, and the dev file if there is one; neither is read."""
    given = spec.dataset or ""
    train: DataFile | None = allowed_file(given, settings, "/task/dataset")
    dev = allowed_file(spec.dev, settings, "/task/dev") if spec.dev else None
    if train and train.path.is_dir():
        dev = dev or _member(train, DEV_STEMS, settings)
        train = _member(train, TRAIN_STEMS, settings)
    if train is None:
        known = ", ".join(f"train{suffix}" for suffix in FORMATS)
        raise LayercutError(
            "dataset_not_found", f"the folder {given!r} has no training file: {known}", param="/task/dataset"
        )
    for file in (train, dev):
        if file is not None and not (file.path.is_file() and file.kind in FORMATS):
            raise LayercutError(
                "dataset_invalid",
                f"{file.name!r} is not a file of a known kind: {', '.join(FORMATS)}",
                param=file.param,
            )
    if dev is not None and dev.path == train.path:
        raise LayercutError("dataset_invalid", "the dev file is the training file itself", param="/task/dev")
    return train, dev


def _member(folder: DataFile, stems: tuple[str, ...], settings: SourceSettings) -> DataFile | None:
    names = (f"{stem}{suffix}" for stem in stems for suffix in FORMATS)
    found = next((name for name in names if (folder.path / name).exists()), None)
    return None if found is None else allowed_file(f"{folder.name.rstrip('/')}/{found}", settings, folder.param)


def _opened(spec: TaskSpec, file: DataFile, limit: int | None = None) -> Table:
    read: ReadSpec = (spec.dev_read if file.param == "/task/dev" else None) or spec.read
    kind: LabelKind = "number" if spec.decided_kind == "regression" else "class"
    return Table(file, spec.text_columns, spec.label_column or "", read, label_kind=kind, limit=limit)


def _checked(spec: TaskSpec, table: Table, known: Learnt | None = None) -> Learnt:
    """What the labels mean; ``known`` is what those of the training file do. Raises ``dataset_invalid``."""
    skips = table.read.bad_rows == "skip"
    if table.profile.blank and not skips:
        raise table.no_text()
    learnt = _numbers(spec, table) if spec.decided_kind == "regression" else _classes(spec, table, known)
    if skips and table.profile.blank >= table.profile.rows:
        raise table.file.error("no row is left: all of them are bad")
    return learnt


def _numbers(spec: TaskSpec, table: Table) -> Learnt:
    profile = table.profile
    if profile.open and table.read.bad_rows != "skip":
        place, values = table.first(f"NOT coalesce(isfinite({table.label}), false)") or ("", (None,))
        raise table.file.error(
            f"label {spec.label_column!r} is not a number but {_short(values[-1] or '')}: {NO_NUMBER}", place
        )
    if profile.low == profile.high and table.file.param == "/task/dataset":
        raise table.file.error(f"every row has the label {profile.low}: there is nothing to learn", "2")
    return Learnt(None)


def _classes(spec: TaskSpec, table: Table, known: Learnt | None) -> Learnt:
    written, skips = table.profile.labels, table.read.bad_rows == "skip"
    if not skips and any(label_text(label) is None for label in written):
        labels = {label: 0 for label in written if label_text(label) is not None}
        raise _no_class(spec, table, Classes((), labels))
    if known is None:
        classes = classes_of(spec, written, table.file)
    else:
        assert known.classes is not None
        classes = known.classes.taught(written)
    if not skips and any(label not in classes.ids for label in written):
        raise _no_class(spec, table, classes)
    return Learnt(classes)


def _no_class(spec: TaskSpec, table: Table, classes: Classes) -> LayercutError:
    taken = ", ".join(literal(label) for label in table.profile.labels if label in classes.ids and label is not None)
    other = f"{table.label} NOT IN ({taken})" if taken else "true"
    place, values = table.first(f"{table.label} IS NULL OR {other}") or ("", (None,))
    return table.file.error(no_class(classes, values[-1], spec.label_column or ""), place)


def _rows(table: Table, learnt: Learnt) -> Rows:
    """The good rows; the others, which are there only where they are to be skipped, are counted."""
    texts = StoredTexts(len(table.texts))
    labels: array[Any] = array("q" if learnt.classes else "d")
    skipped = table.bad.copy()
    for batch in table.batches():
        kept = []
        for *row, label, blank in batch:
            number = learnt.take(label)
            if blank or number is None:
                skipped["no text" if blank else "no label that is known"] += 1
            else:
                kept.append(tuple(row))
                labels.append(number)
        texts.extend(kept)
    if not labels:
        raise table.file.error("no row is left: all of them are bad")
    sha256 = hash_files([table.file.path])
    return Rows(texts, labels, table.file.name, sha256, skipped.total(), dict(skipped))


def _spellings(learnt: Learnt) -> tuple[str, ...]:
    spelt = learnt.classes.spelt if learnt.classes else {}
    return tuple(
        f"the label {name!r} is written in {len(ways)} ways, which are taken as one: {', '.join(map(repr, ways[:5]))}"
        for name, ways in spelt.items()
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _too_few(name: str, rows: int) -> LayercutError:
    return LayercutError(
        "dataset_invalid",
        f"{name}: {rows} rows are too few to keep some aside for scoring: give a dev file, or more rows of a label",
        param="/task/dataset",
    )


def _split(rows: Rows, *, stratify: bool, seed: int) -> tuple[Rows, Rows]:
    dev = sorted(_dev_indexes(rows, stratify=stratify, seed=seed))
    if not dev or len(dev) == len(rows):
        raise _too_few(rows.source, len(rows))
    aside = bytearray(len(rows))
    for index in dev:
        aside[index] = 1
    train = (index for index in range(len(rows)) if not aside[index])
    return (
        rows.pick(train, f"{rows.source} (without the dev rows)"),
        rows.pick(dev, f"{rows.source} (a tenth, seed {seed})"),
    )


def _dev_indexes(rows: Rows, *, stratify: bool, seed: int) -> Iterator[int]:
    """A tenth of every label's rows; one at least of each that has two, and never all of it."""
    groups: dict[float, array[int]] = {}
    for index, label in enumerate(rows.labels):
        groups.setdefault(label if stratify else 0, array("q")).append(index)
    draw = random.Random(seed)
    for label in sorted(groups):
        group = groups[label]
        if len(group) > 1:
            chosen = draw.sample(range(len(group)), max(1, round(len(group) * DEV_SHARE)))
            yield from (group[at] for at in chosen)
