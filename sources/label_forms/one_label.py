"""One label a row: a class or a number."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from typing import Any

from api_schemas.errors import LayercutError
from api_schemas.labels import label_text
from api_schemas.task_spec import TaskSpec
from sources.label_forms.form import FEWEST, NO_ROW, Form, Learnt, Look, Split, read_of, split
from sources.own_labels import Classes, classes_of, no_class, spellings
from sources.rows import Rows, hash_files
from sources.stored_texts import StoredTexts
from sources.tables.data_file import DataFile
from sources.tables.duck import literal
from sources.tables.list_cells import shown
from sources.tables.table import LabelKind, Profile, Table

NO_NUMBER = "the task is a regression and needs numbers"


class OneLabel(Form):
    """Numbers where ``kind`` is number; else classes."""

    def __init__(self, kind: LabelKind) -> None:
        self._kind: LabelKind = kind

    def read(self, spec: TaskSpec, file: DataFile, known: Learnt | None) -> tuple[Rows, Learnt]:
        with self._opened(spec, file) as table:
            learnt = self._checked(spec, table, known)
            return _rows(table, learnt), learnt

    def look(self, spec: TaskSpec, file: DataFile, known: Learnt | None, limit: int) -> Look:
        with self._opened(spec, file, limit) as table:
            learnt, profile = self._checked(spec, table, known), table.profile
            alone = learnt.classes is not None and max(_counts(learnt.classes, profile).values()) < 2
            return Look(learnt, table.read, profile.rows, splits=profile.rows >= FEWEST and not alone)

    def split(self, rows: Rows, seed: int) -> Split:
        """From every class alike."""
        groups: dict[Any, array[int]] = {}
        for index, label in enumerate(rows.labels):
            groups.setdefault(label if self._kind == "class" else 0, array("q")).append(index)
        return split(rows, groups, seed)

    def _opened(self, spec: TaskSpec, file: DataFile, limit: int | None = None) -> Table:
        label = spec.label_column or ""
        return Table(file, spec.text_columns, label, read_of(spec, file), label_kind=self._kind, limit=limit)

    def _checked(self, spec: TaskSpec, table: Table, known: Learnt | None) -> Learnt:
        """What the labels mean."""
        skips = table.read.bad_rows == "skip"
        if table.profile.blank and not skips:
            raise table.no_text()
        learnt = _numbers(spec, table) if self._kind == "number" else _classes(spec, table, known)
        if skips and table.profile.blank >= table.profile.rows:
            raise table.file.error(NO_ROW)
        return learnt


def _counts(classes: Classes, profile: Profile) -> Counter[int]:
    """Rows by the label's id."""
    counts: Counter[int] = Counter()
    for label, id in classes.ids.items():
        counts[id] += profile.labels.get(label, 0)
    return counts


def _numbers(spec: TaskSpec, table: Table) -> Learnt:
    profile = table.profile
    if profile.open and table.read.bad_rows != "skip":
        place, values = table.first(f"NOT coalesce(isfinite({table.label}), false)") or ("", (None,))
        raise table.file.error(
            f"label {spec.label_column!r} is not a number but {shown(values[-1] or '')}: {NO_NUMBER}", place
        )
    if profile.low == profile.high and table.file.param != "/task/dev":
        raise table.file.error(f"every row has the label {profile.low}: there is nothing to learn", "2")
    return Learnt()


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
    return Learnt(classes, () if known else spellings(classes))


def _no_class(spec: TaskSpec, table: Table, classes: Classes) -> LayercutError:
    taken = ", ".join(literal(label) for label in table.profile.labels if label in classes.ids and label is not None)
    other = f"{table.label} NOT IN ({taken})" if taken else "true"
    place, values = table.first(f"{table.label} IS NULL OR {other}") or ("", (None,))
    return table.file.error(no_class(classes, values[-1], spec.label_column or ""), place)


def _rows(table: Table, learnt: Learnt) -> Rows:
    """The good rows; the others, which are there only where they are to be skipped, are counted."""
    texts = StoredTexts(len(table.texts))
    labels: array[Any] = array("q" if learnt.classes else "d")
    take = _number if learnt.classes is None else learnt.classes.ids.get
    skipped = table.bad.copy()
    for batch in table.batches():
        kept = []
        for *row, label, blank in batch:
            number = take(label)
            if blank or number is None:
                skipped["no text" if blank else "no label that is known"] += 1
            else:
                kept.append(tuple(row))
                labels.append(number)
        texts.extend(kept)
    if not labels:
        raise table.file.error(NO_ROW)
    sha256 = hash_files([table.file.path])
    return Rows(texts, labels, table.file.name, sha256, skipped.total(), dict(skipped))


def _number(label: float | None) -> float | None:
    return label if label is not None and math.isfinite(label) else None
