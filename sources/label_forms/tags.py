"""A tag for each word, in the IOB2 scheme: CoNLL files, and tables with a list of words and a list of tags a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Protocol

from api_schemas.errors import LayercutError
from api_schemas.read_spec import ReadSpec
from api_schemas.task_spec import CONLL_SUFFIXES, MAX_LABELS, TaskSpec
from sources.label_forms.conll import LONGEST_WORD, MOST_WORDS, read_conll
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
from sources.label_forms.iob2 import OUTSIDE, first_break, tag_names, type_of
from sources.lines import Lines
from sources.own_labels import MORE, Classes
from sources.rows import RaggedLabels, Rows, Tally, TextRow
from sources.stored_texts import StoredTexts
from sources.tables.bounds import LOOK_SECONDS
from sources.tables.data_file import DataFile
from sources.tables.list_cells import NoList, is_broken, parse_list, shown
from sources.tables.table import FORMATS, Table

#: Each has two tags, beside O.
MOST_TYPES = (MAX_LABELS - 1) // 2

#: The ids of a sentence's tags; raises ``BadLabel``.
Take = Callable[[Sequence[str], Sequence[Any]], tuple[int, ...]]
Tagged = tuple[TextRow, tuple[int, ...]]


class Tags(Form):
    """A sentence's words, and an id for each of them."""

    suffixes = (*FORMATS, *CONLL_SUFFIXES)

    def read(self, spec: TaskSpec, file: DataFile, known: Learnt | None) -> tuple[Rows, Learnt]:
        with _opened(spec, file) as sentences:
            labels_of, tally = _Labels(spec, sentences.file, known), Tally()
            words, tags = StoredTexts(None), RaggedLabels()
            for row, ids in sentences.rows(tally, labels_of.take):
                words.extend([row])
                tags.append(ids)
            learnt = labels_of.learnt(tally)
            if (order := labels_of.order) is not None:
                tags = tags.renamed(order, as_sets=False)
            return rows_of(words, tags, sentences.file, tally), learnt

    def look(self, spec: TaskSpec, file: DataFile, known: Learnt | None, limit: int) -> Look:
        with _opened(spec, file, min(limit, LOOKED_ROWS)) as sentences:
            labels_of, tally = _Labels(spec, sentences.file, known), Tally()
            for _ in sentences.rows(tally, labels_of.take):
                pass
            return Look(labels_of.learnt(tally), sentences.read, tally.good, splits=tally.good >= FEWEST)


class Sentences(Protocol):
    """An open file of words and tags; ``file`` is pinned."""

    @property
    def file(self) -> DataFile: ...

    @property
    def read(self) -> ReadSpec: ...

    def rows(self, tally: Tally, take: Take) -> Iterator[Tagged]:
        """The good ones; raises ``dataset_invalid`` for a bad one, unless these are to be skipped."""


@contextmanager
def _opened(spec: TaskSpec, file: DataFile, limit: int | None = None) -> Iterator[Sentences]:
    asked = read_of(spec, file)
    if file.kind in CONLL_SUFFIXES:
        with (file if limit is None else file.within(LOOK_SECONDS)).pinned() as pinned:
            yield ConllSentences(pinned, asked, limit)
        return
    for field, given in (("text_columns", spec.text_columns), ("label_column", spec.label_column)):
        if not given:
            raise LayercutError(
                "dataset_invalid", f"{file.name!r} is a table, and a table needs {field}", param=f"/task/{field}"
            )
    columns = [*spec.text_columns, spec.label_column or ""]
    with Table(file, columns[:1], columns[1], asked, label_kind="cell", limit=limit, lists=columns) as table:
        yield TableSentences(table, columns[0], columns[1])


class ConllSentences:
    """Of a file of a word a line; no more than ``limit`` of them are read."""

    def __init__(self, file: DataFile, asked: ReadSpec, limit: int | None) -> None:
        self.file, self._limit = file, limit
        self.read = ReadSpec(delimiter=None, quote=None, escape=None, encoding="utf-8", bad_rows=asked.bad_rows)

    def rows(self, tally: Tally, take: Take) -> Iterator[Tagged]:
        lines = Lines(self.file.path, self.file.name, param=self.file.param)
        for sentence in islice(read_conll(lines), self._limit):
            self.file.check_time()
            tally.rows += 1
            try:
                if sentence.fault:
                    raise BadLabel("lines that cannot be read", sentence.fault[1])
                yield tuple(sentence.words), take(sentence.words, sentence.tags)
            except BadLabel as bad:
                if self.read.bad_rows != "skip":
                    line = sentence.fault[0] if sentence.fault else sentence.lines[bad.at or 0]
                    raise self.file.error(str(bad), str(line)) from None
                tally.skipped[bad.reason] += 1
        if not tally.rows:
            raise self.file.error("the file has no rows", "1")


class TableSentences:
    """Of a table with a list of words and a list of tags a row."""

    def __init__(self, table: Table, words: str, tags: str) -> None:
        self.file, self.read = table.file, table.read
        self._table, self._words, self._tags = table, words, tags

    def rows(self, tally: Tally, take: Take) -> Iterator[Tagged]:
        def taken(texts: TextRow, label: str | None) -> Tagged:
            words, tags = _list(self._words, texts[0]), _list(self._tags, label)
            if len(words) != len(tags):
                raise BadLabel("lists that differ in length", f"{len(words)} words and {len(tags)} tags")
            return words_of(self._words, words), take(words, tags)

        return good_rows(self._table, tally, taken)


def _list(column: str, cell: str | None) -> list[Any]:
    try:
        return parse_list(cell or "")
    except NoList as error:
        raise BadLabel("no list", f"{column!r} {error if cell else 'is missing, or no list'}") from None


def words_of(column: str, words: list[Any]) -> TextRow:
    """The words of a sentence; raises ``BadLabel``."""
    if not 0 < len(words) <= MOST_WORDS:
        reason = "too many words" if words else "no words"
        raise BadLabel(reason, f"{column!r} has {len(words)} words, not 1 to {MOST_WORDS}")
    for at, word in enumerate(words, 1):
        if not isinstance(word, str) or not word.strip() or is_broken(word) or len(word) > LONGEST_WORD:
            right = f"no text of 1 to {LONGEST_WORD} characters"
            raise BadLabel("no words", f"word {at} of {column!r} is {shown(word)}, {right}")
    return tuple(words)


class _Labels:
    """The tags of one pass through a file. Where they are known, ids are those of ``classes``; else tags are numbered
    as they come, and ``order`` says in the end which id each number becomes.
    """

    def __init__(self, spec: TaskSpec, file: DataFile, known: Learnt | None) -> None:
        self._file, self._asked, self._is_dev = file, tuple(spec.label_names), known is not None
        self._classes = known.classes if known else _asked(self._asked)
        self._ids = {name: id for id, name in enumerate(self._classes.names)} if self._classes else {}
        self._entities = False
        self.order: list[int] | None = None

    def take(self, words: Sequence[str], tags: Sequence[Any]) -> tuple[int, ...]:
        named = [self._named(tag, at) for at, tag in enumerate(tags)]
        for at, tag in enumerate(named):
            if tag not in self._ids:
                self._check_new(tag, at)
        if found := first_break(named):
            raise BadLabel("tags that break the order of IOB2", found[1], found[0])
        self._entities = self._entities or any(tag != OUTSIDE for tag in named)
        return tuple(self._ids.setdefault(tag, len(self._ids)) for tag in named)

    def learnt(self, tally: Tally) -> Learnt:
        """What all of them mean; raises ``dataset_invalid`` where a training file has nothing to learn."""
        if self._is_dev:
            return Learnt(self._classes)
        if tally.good and not self._entities:
            raise self._file.error("every tag is O: there is nothing to learn")
        if self._classes is not None:
            return Learnt(self._classes)
        names = tag_names({type_of(tag) for tag in self._ids} - {""})
        if len(names) > MAX_LABELS:
            raise self._too_many()
        self.order = [names.index(tag) for tag in self._ids]
        return Learnt(Classes(names))

    def _named(self, tag: Any, at: int) -> str:
        if isinstance(tag, int) and not isinstance(tag, bool):
            if not self._asked:
                raise self._file.error(
                    f"tags are numbers such as {shown(tag)}: say in task.labels which tag each is, in their order"
                )
            if not 0 <= tag < len(self._asked):
                what = f"the number {shown(tag)}, and task.labels has {len(self._asked)}"
                raise BadLabel("no tag that is known", what, at)
            return self._asked[tag]
        if not isinstance(tag, str):
            raise BadLabel("no tag that is known", f"{shown(tag)} is no tag", at)
        return tag

    def _check_new(self, tag: str, at: int) -> None:
        try:
            type_of(tag)
        except ValueError as error:
            raise BadLabel("no tag that is known", str(error), at) from None
        if self._classes is not None:
            whose = "not in the training file, whose tags are" if self._is_dev else "none of task.labels, which are"
            names = ", ".join(self._classes.names[:MORE])
            raise BadLabel("no tag that is known", f"{shown(tag)} is {whose}: {names}", at)
        if len(self._ids) > MAX_LABELS:
            raise self._too_many()

    def _too_many(self) -> LayercutError:
        return self._file.error(f"there are more than {MOST_TYPES} types of entities: is the last column the tag?")


def _asked(names: tuple[str, ...]) -> Classes | None:
    """Those of ``task.labels``, all of which must be tags."""
    if not names:
        return None
    try:
        for name in names:
            type_of(name)
    except ValueError as error:
        raise LayercutError("dataset_invalid", str(error), param="/task/labels") from None
    if OUTSIDE not in names:
        raise LayercutError("dataset_invalid", "task.labels has no O, the tag of other words", param="/task/labels")
    return Classes(names)
