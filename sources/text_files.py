"""Files of text without labels: TXT, a text a line, or columns of a table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice

from api_schemas.errors import LayercutError
from api_schemas.read_spec import ReadSpec
from sources.heads import check_head
from sources.lines import Lines
from sources.rows import Rows, Tally, TextRow, hash_files, zeros
from sources.settings import SourceSettings
from sources.stored_texts import StoredTexts
from sources.tables.data_file import DataFile, allowed_file
from sources.tables.list_cells import NoList, is_broken, is_list, parse_list
from sources.tables.table import FORMATS, Table

TXT = ".txt"
KINDS = (TXT, *FORMATS)


@dataclass(frozen=True)
class TextSource:
    """What a request says of such a file, whichever part of it does.

    ``columns`` are those that it names; where it names none, the first of ``ways`` that the file has is taken.
    ``use`` ends "the file has no texts: there is nothing to …". ``differ``: texts that are all the same are refused.
    ``words``: a text is a list of words, or is split at its blanks into words.
    """

    columns: tuple[str, ...]
    read: ReadSpec
    columns_param: str
    use: str
    ways: tuple[tuple[str, ...], ...] = (("text",),)
    differ: bool = True
    words: bool = False


@dataclass(frozen=True)
class TextLook:
    """How a file is read: the columns, none of TXT, and the way that it is written. ``rows`` were looked at."""

    columns: tuple[str, ...]
    read: ReadSpec
    rows: int


def text_file_of(name: str, settings: SourceSettings, source: TextSource, param: str) -> DataFile:
    """The file of that name, which is not read; raises as ``allowed_file`` does, and ``dataset_invalid``."""
    file = allowed_file(name, settings, param)
    if not (file.path.is_file() and file.kind in KINDS):
        message = f"{file.name!r} is not a file of a known kind: {', '.join(KINDS)}"
        raise LayercutError("dataset_invalid", message, param=param)
    check_columns(file, source)
    return file


def check_columns(file: DataFile, source: TextSource) -> None:
    """Raise ``dataset_invalid`` where a file of lines is asked for columns."""
    if file.kind != TXT:
        return
    if source.columns:
        message = "a TXT file has no columns: each line is a text"
        raise LayercutError("dataset_invalid", message, param=source.columns_param)
    if width := next((len(way) for way in source.ways if len(way) > 1), 0):
        raise file.error(f"a line of TXT is one text, and the task reads {width} texts a row: give a table")


def texts_in(
    source: TextSource, file: DataFile, limit: int | None = None, tally: Tally | None = None
) -> Iterator[TextRow]:
    """The texts of a pinned ``file``, in its order; raises ``dataset_invalid``. What is left out is counted."""
    tally = tally or Tally()
    rows = _lines(source, file, limit) if file.kind == TXT else _cells(source, file, limit, tally)
    first, differ, count = None, not source.differ, 0
    for row in rows:
        first = row if first is None else first
        differ, count = differ or row != first, count + 1
        yield row
    if not (count and differ):
        raise _nothing(source, file, count)


def all_texts(source: TextSource, file: DataFile) -> Rows:
    """Of a pinned file, in its order, with zeros for labels; raises ``dataset_invalid``."""
    texts, tally = StoredTexts(None), Tally()
    for row in texts_in(source, file, tally=tally):
        texts.extend([row])
    return Rows(texts, zeros(len(texts)), file.name, hash_files([file.path]), **tally.left_out())


def look_at(source: TextSource, file: DataFile, limit: int) -> TextLook:
    """Raise what ``texts_in`` would for the first ``limit`` rows of a pinned ``file``."""
    if file.kind == TXT:
        rows = sum(1 for _ in texts_in(source, file, limit))
        read = ReadSpec(delimiter=None, quote=None, escape=None, encoding="utf-8", bad_rows=source.read.bad_rows)
        return TextLook((), read, rows)
    with _opened(source, file, limit) as table:
        good = (row for batch in table.batches() for row in batch if not row[-1])
        # The table has looked at every row: no more of them are asked for than it takes to find two that differ.
        first = next(good, None)
        other = not source.differ or next((row for row in good if row != first), None) is not None
        rows = table.profile.rows - table.profile.blank
        if first is None or not other:
            raise _nothing(source, table.file, rows)
        return TextLook(tuple(table.texts), table.read, rows)


def check_beginning(source: TextSource, file: DataFile) -> None:
    """Raise what the beginning of a ``partial`` file shows: that no way to call its columns is one that it has."""
    ways = (source.columns,) if source.columns else source.ways
    check_head(file, ways, source.read, lists=tuple(column for way in ways for column in way) if source.words else ())


def _lines(source: TextSource, file: DataFile, limit: int | None) -> Iterator[TextRow]:
    for line in islice(Lines(file.path, file.name, param=file.param), limit):
        file.check_time()
        if text := line.strip():
            yield tuple(text.split()) if source.words else (text,)


def _cells(source: TextSource, file: DataFile, limit: int | None, tally: Tally) -> Iterator[TextRow]:
    with _opened(source, file, limit) as table:
        tally.skipped.update(table.bad)
        for batch in table.batches():
            table.file.check_time()
            for *texts, _, blank in batch:
                tally.rows += 1
                row = () if blank else _words(texts[0]) if source.words else tuple(texts)
                if row:
                    yield row
                elif source.read.bad_rows == "skip":
                    tally.skipped["no text"] += 1
                else:
                    raise table.file.error(f"{table.texts[0]!r} is no list of words", table.place(tally.rows - 1))


def _words(cell: str) -> TextRow:
    """Those of a list, or of a text; empty where a list holds anything but words."""
    if is_list(cell):
        try:
            listed = parse_list(cell)
        except NoList:
            return tuple(cell.split())  # a text that begins with a bracket
        fine = all(isinstance(word, str) and word.strip() and not is_broken(word) for word in listed)
        return tuple(listed) if fine else ()
    return tuple(cell.split())


def _nothing(source: TextSource, file: DataFile, rows: int) -> LayercutError:
    if not rows:
        return file.error(f"the file has no texts: there is nothing to {source.use}", "1")
    found = "one text alone" if rows == 1 else f"{rows} texts, and all of them are the same"
    return file.error(f"the file has {found}: there is nothing to {source.use}")


@contextmanager
def _opened(source: TextSource, file: DataFile, limit: int | None) -> Iterator[Table]:
    """The table, with the first columns that it has; raises what is wrong with the first that were to be there."""
    ways = (source.columns,) if source.columns else source.ways
    wrong: LayercutError | None = None
    for columns in ways:
        with ExitStack() as stack:
            lists = columns if source.words else ()
            try:
                table = stack.enter_context(Table(file, columns, None, source.read, limit=limit, lists=lists))
                if table.profile.blank and source.read.bad_rows == "refuse":
                    raise table.no_text()
            except LayercutError as error:
                wrong = wrong or error
                continue
            yield table
            return
    assert wrong is not None
    raise wrong
