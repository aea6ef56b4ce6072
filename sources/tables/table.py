"""A user's table: opened, read through once, and then given row by row, however it is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from api_schemas.errors import LayercutError
from api_schemas.labels import LONGEST_LABEL
from api_schemas.read_spec import ReadSpec
from sources.tables import duck
from sources.tables.bounds import BATCH_BYTES, BATCH_ROWS, COMPARED_BYTES, COMPARED_ROWS, DECODED, LOOK_SECONDS, MAX_ROW
from sources.tables.csv_file import MOST_BAD, open_csv
from sources.tables.data_file import DataFile
from sources.tables.duck import MEMORY, connect, interrupted, scratch
from sources.tables.json_file import open_json
from sources.tables.opened import BadRow, Opened, Opener
from sources.tables.parquet_file import open_parquet

if TYPE_CHECKING:
    import duckdb

#: A class, a number, a cell that may hold several labels (a list as JSON), or a column of 0 and 1 for each label.
LabelKind = Literal["class", "number", "cell", "flags"]

#: By the ending of a file's name.
FORMATS: dict[str, Opener] = {
    ".csv": open_csv,
    ".tsv": open_csv,
    ".json": open_json,
    ".jsonl": open_json,
    ".ndjson": open_json,
    ".parquet": open_parquet,
}

#: NULL, empty, or blanks of any alphabet and nothing else; or with a byte 0, which databases and tokenizers stop at.
BLANK = r"({0} IS NULL OR regexp_full_match({0}, '[\s\p{{Z}}]*') OR contains({0}, chr(0)))"

#: However they are written; of these, fewer may be classes.
MOST_LABELS = 20_000
#: A character has four bytes at most.
LABELS: dict[LabelKind, str] = {
    "cell": "{0}",
    "class": f"CASE WHEN strlen({{0}}) <= {4 * LONGEST_LABEL} THEN {{0}} END",
    "number": f"CASE WHEN strlen({{0}}) <= {4 * LONGEST_LABEL} THEN TRY_CAST(trim({{0}}) AS DOUBLE) END",
}
#: One character a column: what is neither yes nor no is told by its place. An empty cell of a CSV is no.
FLAG = (
    "CASE lower(trim({0})) WHEN '1' THEN '1' WHEN '1.0' THEN '1' WHEN 'true' THEN '1'"
    " WHEN '0' THEN '0' WHEN '0.0' THEN '0' WHEN 'false' THEN '0' WHEN '' THEN '0' ELSE '?' END"
)
WRONG_COLUMN = 'is it the right column? For numbers, say task.kind: "regression"'


@dataclass(frozen=True)
class Profile:
    """What the table holds. ``blank``: rows that lack a text; ``open``: rows whose number is none that can be learnt.

    ``labels``: how often each class occurs as it is written, None for a value that is missing. ``low`` and ``high``
    are of the numbers. ``longest``: bytes of the texts and the label of the row that has the most.
    """

    rows: int
    blank: int
    labels: dict[str | None, int]
    longest: int = 0
    open: int = 0
    low: float | None = None
    high: float | None = None


class Table:
    """The columns ``texts`` of ``file``, and ``label`` where there is one, or of flags more. Use as a context manager.

    Raises ``dataset_invalid`` for what is not a table of this kind, and for the first row that cannot be read unless
    ``read.bad_rows`` is skip: then ``bad`` has how many are left out, by reason. ``limit``: no more rows are looked at.
    ``lists`` are columns that may hold lists, which are given as JSON text. ``placed``: of the bad rows, so many are in
    ``bad_rows``, with their places.
    """

    def __init__(
        self,
        file: DataFile,
        texts: Sequence[str],
        label: str | Sequence[str] | None,
        read: ReadSpec,
        *,
        label_kind: LabelKind = "class",
        limit: int | None = None,
        lists: Collection[str] = (),
        placed: int = 0,
    ) -> None:
        self.file, self.texts, self._label_kind, self._limit = file, list(texts), label_kind, limit
        self._given = file
        self._columns = [*texts, *([label] if isinstance(label, str) else label or ())]
        self._lists, self._placed = frozenset(lists), placed
        self._asked = read
        self._stack = ExitStack()
        self.bad: Counter[str] = Counter()
        self.bad_rows: Sequence[BadRow] = ()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            given = self._given if self._limit is None else self._given.within(LOOK_SECONDS)
            self.file = stack.enter_context(given.pinned())
            self._folder = stack.enter_context(scratch())
            opened = FORMATS[self.file.kind](self.file, self._columns, self._asked, self._folder, self._lists)
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
        """The label as it is written, or as a number; NULL for what is too long for one. Of flags, one text of them."""
        if len(self._columns) == len(self.texts):
            return "NULL"
        if self._label_kind == "flags":
            flags = (FLAG.format(f"v{at}") for at in range(len(self.texts), len(self._columns)))
            return f"concat({', '.join(flags)})"
        return LABELS[self._label_kind].format(f"v{len(self.texts)}")

    def first(self, condition: str) -> tuple[str, tuple[str | None, ...]] | None:
        """The place and the values of the first row of which ``condition`` holds."""
        numbered = f"SELECT row_number() OVER () - 1 AS row, * FROM ({self._rows})"
        with self._explaining():
            found = self._connection.execute(f"SELECT * FROM ({numbered}) WHERE {condition} LIMIT 1").fetchone()
        return None if found is None else (self._opened.place(found[0]), found[1:])

    @property
    def rows(self) -> str:
        """SQL that gives all rows, whose columns are v0, v1 …: for ``ask``."""
        return f"({self._rows})"

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with self._explaining():
            return self._connection.execute(query).fetchall()

    def place(self, row: int) -> str:
        """Where the row of that number, from 0, of those that ``batches`` gives stands."""
        with self._explaining():
            return self._opened.place(row)

    def no_text(self) -> LayercutError:
        """What to say where ``profile`` has a row that lacks a text."""
        place, values = self.first(self.blank) or ("", ())
        cut = (column for column, value in zip(self.texts, values, strict=False) if "\0" in (value or ""))
        if column := next(cut, None):
            return self.file.error(f"{column!r} has a byte 0 in it, which is no text", place)
        lacking = (column for column, value in zip(self.texts, values, strict=False) if not (value or "").strip())
        return self.file.error(f"{next(lacking, self.texts[0])!r} is empty, or no text", place)

    def batches(self) -> Iterator[list[tuple[Any, ...]]]:
        """Rows, some thousands or megabytes at a time: the texts, the label, and whether a text is lacking."""
        texts = ", ".join(f"v{at}" for at in range(len(self.texts)))
        rows = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, self.profile.longest)))
        with self._explaining():
            found = self._connection.execute(f"SELECT {texts}, {self.label}, {self.blank} FROM ({self._rows})")
        while batch := self._fetch(found, rows):
            yield batch

    def _fetch(self, found: duckdb.DuckDBPyConnection, rows: int) -> list[tuple[Any, ...]]:
        with self._explaining():
            return found.fetchmany(rows)

    def _read_through(self, opened: Opened, stack: ExitStack) -> Profile:
        """Of gigabytes in seconds. What DuckDB gives up on, such as line ends of several kinds, is written anew."""
        self._opened = opened
        self._connection, name = stack.enter_context(connect(opened.path, self._folder))
        query = opened.query(name)
        self._rows = query if self._limit is None else f"{query} LIMIT {self._limit}"
        stack.enter_context(interrupted(self._connection, self.file.deadline))
        try:
            if opened.expands and self._check_expanded(query):
                self._rows = query
            profile = self._profile()
            if opened.agrees(self._first_rows()):
                return profile
            plainer = opened.rewritten(self._connection, name)
        except duck.Error as error:
            self.file.check_time()
            plainer = opened.rewritten(self._connection, name)
            if plainer is None:
                raise self._explained(error) from None
        assert plainer is not None
        return self._read_through(plainer, stack)

    def _first_rows(self) -> Iterator[tuple[str | None, ...]]:
        """One by one, as each may have megabytes."""
        found, size = self._connection.execute(f"SELECT * FROM ({self._rows}) LIMIT {COMPARED_ROWS}"), 0
        while size < COMPARED_BYTES and (row := found.fetchone()):
            yield row
            size += sum(len(value or "") for value in row)

    def _profile(self) -> Profile:
        counts = f"count(*), count(*) FILTER ({self.blank}), coalesce(max({self._size}), 0)"
        if self._label_kind == "number":
            number = self.label
            row = self._connection.execute(
                f"SELECT {counts}, count(*) FILTER (NOT coalesce(isfinite({number}), false)),"
                f" min({number}), max({number}) FROM ({self._rows})"
            ).fetchone()
            assert row is not None
            rows, blank, longest, open_, low, high = row
            return Profile(rows, blank, {}, longest, open_, low, high)
        if self._label_kind in ("cell", "flags"):
            rows, blank, longest = self._connection.execute(f"SELECT {counts} FROM ({self._rows})").fetchall()[0]
            return Profile(rows, blank, {}, longest)
        grouped = f"SELECT {self.label}, {counts} FROM ({self._rows}) GROUP BY 1 LIMIT {MOST_LABELS + 1}"
        found = self._connection.execute(grouped).fetchall()
        if len(found) > MOST_LABELS:
            raise self.file.error(f"{self._columns[-1]!r} has more than {MOST_LABELS} different labels: {WRONG_COLUMN}")
        labels = {label: count for label, count, *_ in found}
        blank, longest = sum(row[2] for row in found), max((row[3] for row in found), default=0)
        return Profile(sum(labels.values()), blank, labels, longest)

    @property
    def _size(self) -> str:
        """How many bytes the texts and the label of a row have."""
        if self._label_kind == "flags":  # a thousand of them are too deep for a sum
            return f"list_sum([{', '.join(f'coalesce(strlen(v{at}), 0)' for at in range(len(self._columns)))}])"
        return " + ".join(f"coalesce(strlen(v{at}), 0)" for at in range(len(self._columns)))

    def _check_expanded(self, query: str) -> bool:
        """Raise for texts that become too large, none of which is copied for it; whether there are no more rows than
        are looked at, and no limit is needed, for which DuckDB would keep them all.
        """
        limit = "" if self._limit is None else f"LIMIT {self._limit + 1}"
        rows, bytes_, longest = self._connection.execute(
            f"SELECT count(*), coalesce(sum(size), 0), coalesce(max(size), 0)"
            f" FROM (SELECT {self._size} AS size FROM ({query}) {limit})"
        ).fetchall()[0]
        if longest > MAX_ROW:
            raise self.file.error(f"a row has {longest} bytes of text; at most {MAX_ROW} are read")
        size = self.file.path.stat().st_size
        if bytes_ > DECODED.of(size):
            raise self.file.error(
                f"the texts of {rows} rows have {bytes_} bytes, and the file {size}: it repeats itself more than"
                f" {DECODED.times} times"
            )
        return self._limit is None or bool(rows <= self._limit)

    def _take_bad_rows(self) -> None:
        with self._explaining():
            bad = self._opened.bad_rows(self._connection, self._placed)
        self.file.check_time()
        if bad and self._asked.bad_rows == "refuse":
            raise self.file.error(bad[0].message, bad[0].place)
        if len(bad) >= MOST_BAD:
            raise self.file.error(f"more than {MOST_BAD} rows cannot be read, the first {bad[0].message}", bad[0].place)
        self.bad.update(row.reason for row in bad)
        self.bad_rows = bad[: self._placed]

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """What DuckDB gives up on, in words of ours: a query that is asked, and one whose rows are fetched."""
        try:
            yield
        except duck.Error as error:
            raise self._explained(error) from None

    def _explained(self, error: duckdb.Error) -> LayercutError:
        if isinstance(error, duck.InterruptException):
            return self.file.too_slow()
        if isinstance(error, duck.OutOfMemoryException):
            return self.file.error(f"reading it takes more than {MEMORY} of memory: its texts are too long")
        return self._opened.explained(error)
