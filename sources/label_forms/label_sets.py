"""Any number of labels a row: a list in one column, or a column of 0 and 1 for each label."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from api_schemas.labels import label_key, label_text
from api_schemas.task_spec import TaskSpec
from sources.label_forms.form import (
    FEWEST,
    LOOKED_ROWS,
    BadLabel,
    Form,
    Learnt,
    Look,
    good_rows,
    read_of,
    rows_of,
)
from sources.own_labels import Classes, classes_of, no_class, spellings
from sources.rows import RaggedLabels, Rows, Tally, TextRow
from sources.stored_texts import StoredTexts
from sources.tables.data_file import DataFile
from sources.tables.list_cells import NoList, is_list, parse_list, shown
from sources.tables.table import MOST_LABELS, WRONG_COLUMN, Table

SEPARATOR = ","
#: Labels that a warning names.
NAMED = 5

SetRow = tuple[TextRow, tuple[int, ...]]


class LabelSets(Form):
    """Ids of a row's labels, sorted; none where it has no label."""

    def read(self, spec: TaskSpec, file: DataFile, known: Learnt | None) -> tuple[Rows, Learnt]:
        with _opened(spec, file) as table:
            labels_of = _labels(spec, table, known)
            tally, texts, labels = Tally(), StoredTexts(len(table.texts)), RaggedLabels()
            for row, ids in _rows(table, labels_of, tally):
                texts.extend([row])
                labels.append(ids)
            learnt = labels_of.learnt(tally)
            if (order := labels_of.order) is not None:
                labels = labels.renamed(order, as_sets=True)
            return rows_of(texts, labels, table.file, tally), learnt

    def look(self, spec: TaskSpec, file: DataFile, known: Learnt | None, limit: int) -> Look:
        with _opened(spec, file, min(limit, LOOKED_ROWS)) as table:
            labels_of, tally = _labels(spec, table, known), Tally()
            for _ in _rows(table, labels_of, tally):
                pass
            learnt = labels_of.learnt(tally)
            return Look(learnt, table.read, tally.good, splits=tally.good >= FEWEST)


def _opened(spec: TaskSpec, file: DataFile, limit: int | None = None) -> Table:
    column, columns = spec.label_column, spec.label_columns
    return Table(
        file, spec.text_columns, column or columns, read_of(spec, file),
        label_kind="cell" if column else "flags", limit=limit, lists=[column] if column else columns,
    )  # fmt: skip


def _rows(table: Table, labels_of: _Labels, tally: Tally) -> Iterator[SetRow]:
    return good_rows(table, tally, lambda texts, label: (texts, labels_of.take(label)))


def _labels(spec: TaskSpec, table: Table, known: Learnt | None) -> _Labels:
    if known is not None:
        return _Labels(spec, table, known.classes, is_dev=True)
    if spec.label_columns:
        return _Labels(spec, table, _columns(spec, table))
    return _Labels(spec, table, Classes(tuple(spec.label_names)) if spec.label_names else None)


def _columns(spec: TaskSpec, table: Table) -> Classes:
    """A label for each column, in their order unless ``task.labels`` has another."""
    names = dict[str, str]()
    for column in spec.label_columns:
        name = label_text(column)
        if name is None or label_key(name) in names:
            fault = "is no name of a label" if name is None else "is given twice"
            raise table.file.error(f"the label column {shown(column)} {fault}")
        names[label_key(name)] = name
    if spec.label_names:
        asked = {label_key(name) for name in spec.label_names}
        if lacking := sorted(names.keys() ^ asked):
            raise table.file.error(f"{lacking[0]!r} is not in both task.labels and task.label_columns")
    return Classes(tuple(spec.label_names or names.values()))


class _Labels:
    """The labels of one pass through a table. Where they are known, ids are those of ``classes``; else labels are
    numbered as they come, and ``order`` says in the end which id each number becomes.
    """

    def __init__(self, spec: TaskSpec, table: Table, classes: Classes | None, *, is_dev: bool = False) -> None:
        self._spec, self._table, self._classes, self._is_dev = spec, table, classes, is_dev
        self._by_key = {label_key(name): id for id, name in enumerate(classes.names)} if classes else {}
        self._columns = [self._by_key.get(label_key(column), 0) for column in spec.label_columns]
        #: By how they are written.
        self._numbers = dict[str, int]()
        self._as_written = dict[str, int]()
        self._counts = Counter[int]()
        self._empty = 0
        self.order: list[int] | None = None

    def take(self, label: str | None) -> tuple[int, ...]:
        """Of a row; raises ``BadLabel``."""
        ids = self._of_flags(label or "") if self._columns else self._of_cell(label)
        self._counts.update(ids)
        self._empty += not ids
        return ids

    def learnt(self, tally: Tally) -> Learnt:
        """What all of them mean; raises ``dataset_invalid`` where a training file has nothing to learn."""
        file, rows, classes = self._table.file, tally.good, self._classes
        empty = (f"{self._empty} of the {rows} rows of {file.name} have no label",) if self._empty else ()
        if self._is_dev:
            return Learnt(classes, empty)
        if rows and not self._counts:
            raise file.error("no row has a label: there is nothing to learn")
        counts = self._counts
        if classes is None:
            written: dict[str | None, int] = {name: counts[number] for name, number in self._numbers.items()}
            classes = classes_of(self._spec, written, file, one_each=False)
            self.order = [classes.ids[name] for name in self._numbers]
            counts = Counter[int]()
            for name, count in written.items():
                counts[classes.ids[name]] += count
        if rows and all(counts[id] in (0, rows) for id in range(len(classes.names))):
            raise file.error("every row has the same labels: there is nothing to learn")
        return Learnt(classes, (*spellings(classes), *_constant(classes, counts, rows), *empty))

    def _of_flags(self, flags: str) -> tuple[int, ...]:
        if "?" in flags:
            column = self._spec.label_columns[flags.index("?")]
            raise BadLabel("neither 0 nor 1", f"label {column!r} is neither 0 nor 1, nor true nor false")
        return tuple(sorted(self._columns[found.start()] for found in re.finditer("1", flags)))

    def _of_cell(self, cell: str | None) -> tuple[int, ...]:
        column = self._spec.label_column
        if cell is None:
            raise BadLabel("no labels", f"label {column!r} is missing, or no list: a row without labels has []")
        try:
            listed: list[Any] = parse_list(cell) if is_list(cell) else self._parts(cell)
        except NoList as error:
            raise BadLabel("no list of labels", f"label {column!r} {error}") from None
        return tuple(sorted({self._known_number(item) for item in listed}))

    def _parts(self, cell: str) -> list[str]:
        parts = cell.split(self._spec.label_separator or SEPARATOR)
        return [part for part in parts if part.strip()]

    def _known_number(self, item: Any) -> int:
        """As ``_number``, which takes ten times as long."""
        if not isinstance(item, str):
            return self._number(item)
        number = self._as_written.get(item)
        if number is None:
            number = self._number(item)
            if len(self._as_written) < MOST_LABELS:
                self._as_written[item] = number
        return number

    def _number(self, item: Any) -> int:
        text = label_text(item)
        if text is None:
            reason, column = "no label that is known", self._spec.label_column
            raise BadLabel(reason, f"label {column!r} has {shown(item)} in it, which is no label")
        number = self._numbers.get(text)
        if number is not None:
            return number
        if len(self._numbers) >= MOST_LABELS:
            column = self._spec.label_column
            raise self._table.file.error(f"{column!r} has more than {MOST_LABELS} different labels: {WRONG_COLUMN}")
        number = len(self._numbers) if self._classes is None else self._by_key.get(label_key(text))
        if number is None:
            raise BadLabel("no label that is known", self._unknown(text))
        self._numbers[text] = number
        return number

    def _unknown(self, text: str) -> str:
        assert self._classes is not None
        if self._is_dev:
            return no_class(self._classes, text, "")
        return f"label {text!r} is none of task.labels, which are: {', '.join(self._classes.names[:20])}"


def _constant(classes: Classes, counts: Counter[int], rows: int) -> Iterator[str]:
    """Labels of which nothing is learnt."""
    for count, whose in ((0, "no row has"), (rows, "every row has")):
        names = [name for id, name in enumerate(classes.names) if counts[id] == count]
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            yield f"{whose} the label {', '.join(map(repr, names[:NAMED]))}{more}: it is not learnt"
