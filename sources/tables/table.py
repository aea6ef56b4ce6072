"""A user's table: opened, read through once, and then given row by row, however it is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Timer
from types import TracebackType
from typing import Any, Literal, Self

import duckdb

from api_schemas.errors import LayercutError
from api_schemas.read_spec import ReadSpec
from sources.tables.csv_file import MOST_BAD, open_csv
from sources.tables.data_file import DataFile
from sources.tables.duck import connect, scratch
from sources.tables.json_file import open_json
from sources.tables.opened import Opened, Opener
from sources.tables.parquet_file import open_parquet

#: By the ending of a file's name.
FORMATS: dict[str, Opener] = {
    ".csv": open_csv,
    ".tsv": open_csv,
    ".json": open_json,
    ".jsonl": open_json,
    ".ndjson": open_json,
    ".parquet": open_parquet,
}

BATCH = 8192
#: How long a look may take that is only to see whether the file can be read: of a table with a limit.
LOOK_SECONDS = 100.0
#: Rows of a file that a second reader reads too.
COMPARED = 200
#: NULL, empty, or blanks of any alphabet and nothing else; or with a byte 0, which databases and tokenizers stop at.
BLANK = r"({0} IS NULL OR regexp_full_match({0}, '[\s\p{{Z}}]*') OR contains({0}, chr(0)))"
NUMBER = "TRY_CAST(trim({0}) AS DOUBLE)"

#: However they are written; of these, fewer may be classes.
MOST_LABELS = 20_000
WRONG_COLUMN = 'is it the right column? For numbers, say task.kind: "regression"'

LabelKind = Literal["class", "number"]


@dataclass(frozen=True)
class Profile:
    """What the table holds. ``blank``: rows that lack a text; ``open``: rows whose number is none that can be learnt.

    ``labels``: how often each class occurs as it is written, None for a value that is missing. ``low`` and ``high``
    are of the numbers.
    """

    rows: int
    blank: int
    labels: dict[str | None, int]
    open: int = 0
    low: float | None = None
    high: float | None = None


class Table:
    """The columns ``texts`` of ``file``, and ``label`` where there is one. Use as a context manager.

    Raises ``dataset_invalid`` for what is not a table of this kind, and for the first row that cannot be read unless
    ``read.bad_rows`` is skip: then ``bad`` has how many are left out, by reason. ``limit``: no more rows are looked at.
    """

    def __init__(
        self,
        file: DataFile,
        texts: Sequence[str],
        label: str | None,
        read: ReadSpec,
        *,
        label_kind: LabelKind = "class",
        limit: int | None = None,
    ) -> None:
        self.file, self.texts, self._label_kind, self._limit = file, list(texts), label_kind, limit
        self._given = file
        self._columns = [*texts] if label is None else [*texts, label]
        self._asked = read
        self._stack = ExitStack()
        self.bad: Counter[str] = Counter()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.file = stack.enter_context(self._given.pinned())
            self._folder = stack.enter_context(scratch())
            opened = FORMATS[self.file.kind](self.file, self._columns, self._asked, self._folder)
            self.profile = self._read_through(opened, stack)
            self._take_bad_rows()
            if not self.profile.rows and not self.bad:
                raise self.file.error("the file has no rows", "1")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def read(self) -> ReadSpec:
        """How the file is read, with every auto decided."""
        return self._opened.read

    @property
    def blank(self) -> str:
        """The condition that a row lacks a text."""
        return " OR ".join(BLANK.format(f"v{at}") for at in range(len(self.texts)))

    @property
    def label(self) -> str:
        """The label as it is written, or as a number."""
        written = f"v{len(self.texts)}" if len(self._columns) > len(self.texts) else "NULL"
        return NUMBER.format(written) if self._label_kind == "number" else written

    def first(self, condition: str) -> tuple[str, tuple[str | None, ...]] | None:
        """The place and the values of the first row of which ``condition`` holds."""
        numbered = f"SELECT row_number() OVER () - 1 AS row, * FROM ({self._rows})"
        found = self._ask(f"SELECT * FROM ({numbered}) WHERE {condition} LIMIT 1").fetchone()
        return None if found is None else (self._opened.place(found[0]), found[1:])

    def no_text(self) -> LayercutError:
        """What to say where ``profile`` has a row that lacks a text."""
        place, values = self.first(self.blank) or ("", ())
        cut = (column for column, value in zip(self.texts, values, strict=False) if "\0" in (value or ""))
        if column := next(cut, None):
            return self.file.error(f"{column!r} has a byte 0 in it, which is no text", place)
        lacking = (column for column, value in zip(self.texts, values, strict=False) if not (value or "").strip())
        return self.file.error(f"{next(lacking, self.texts[0])!r} is empty, or no text", place)

    def batches(self) -> Iterator[list[tuple[Any, ...]]]:
        """Rows, some thousands at a time: the texts, the label, and whether a text is lacking."""
        texts = ", ".join(f"v{at}" for at in range(len(self.texts)))
        found = self._ask(f"SELECT {texts}, {self.label}, {self.blank} FROM ({self._rows})")
        while batch := found.fetchmany(BATCH):
            yield batch

    def _read_through(self, opened: Opened, stack: ExitStack) -> Profile:
        """Of gigabytes in seconds. What DuckDB gives up on, such as line ends of several kinds, is written anew."""
        self._opened = opened
        self._connection, name = stack.enter_context(connect(opened.path, self._folder))
        limit = "" if self._limit is None else f" LIMIT {self._limit}"
        self._rows = f"{opened.query(name)}{limit}"
        if self._limit is not None:
            hurry = Timer(LOOK_SECONDS, self._connection.interrupt)
            hurry.daemon = True
            hurry.start()
            stack.callback(hurry.cancel)
        try:
            profile = self._profile()
            if opened.agrees(self._connection.execute(f"SELECT * FROM ({self._rows}) LIMIT {COMPARED}").fetchall()):
                return profile
            plainer = opened.rewritten()
        except duckdb.InterruptException:
            raise self.file.error(f"the file takes longer than {LOOK_SECONDS:.0f} s to look through") from None
        except duckdb.Error as error:
            plainer = opened.rewritten()
            if plainer is None:
                raise opened.explained(error) from None
        assert plainer is not None
        return self._read_through(plainer, stack)

    def _profile(self) -> Profile:
        counts = f"count(*), count(*) FILTER ({self.blank})"
        if self._label_kind == "number":
            number = self.label
            row = self._connection.execute(
                f"SELECT {counts}, count(*) FILTER (NOT coalesce(isfinite({number}), false)),"
                f" min({number}), max({number}) FROM ({self._rows})"
            ).fetchone()
            assert row is not None
            rows, blank, open_, low, high = row
            return Profile(rows, blank, {}, open_, low, high)
        grouped = f"SELECT {self.label}, {counts} FROM ({self._rows}) GROUP BY 1 LIMIT {MOST_LABELS + 1}"
        found = self._connection.execute(grouped).fetchall()
        if len(found) > MOST_LABELS:
            raise self.file.error(f"{self._columns[-1]!r} has more than {MOST_LABELS} different labels: {WRONG_COLUMN}")
        labels = {label: count for label, count, _ in found}
        return Profile(sum(labels.values()), sum(blank for *_, blank in found), labels)

    def _take_bad_rows(self) -> None:
        bad = self._opened.bad_rows(self._connection)
        if bad and self._asked.bad_rows == "refuse":
            raise self.file.error(bad[0].message, bad[0].place)
        if len(bad) >= MOST_BAD:
            raise self.file.error(f"more than {MOST_BAD} rows cannot be read, the first {bad[0].message}", bad[0].place)
        self.bad.update(row.reason for row in bad)

    def _ask(self, query: str) -> duckdb.DuckDBPyConnection:
        try:
            return self._connection.execute(query)
        except duckdb.Error as error:
            raise self._opened.explained(error) from None
