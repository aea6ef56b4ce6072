"""How a CSV is written, told from its beginning: certain, or refused with what to write."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache

from api_schemas.labels import as_number
from api_schemas.read_spec import Escape, ReadSpec
from sources.tables.bounds import MAX_COLUMNS

DELIMITERS = {".csv": ",;\t|", ".tsv": "\t,;|"}
#: Of names that are compared with one that is not there, and of one of them, in characters.
LOOKED_AT, LONGEST_NAME = 500, 100
QUOTES = ('"', "'")
#: What the file is to say.
OPEN = (None, "auto")


@dataclass(frozen=True)
class Dialect:
    """``quote`` None: fields do not stand in quotes. ``line_ends`` are those that the sample has."""

    delimiter: str
    quote: str | None
    escape: Escape
    columns: tuple[str, ...]
    line_ends: frozenset[str] = frozenset()

    def reader(self, lines: Iterator[str]) -> Iterator[list[str]]:
        """Python's own, by which errors find their line, and what DuckDB cannot read is rewritten."""
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self.quote,
            quoting=csv.QUOTE_NONE if self.quote is None else csv.QUOTE_MINIMAL,
            escapechar="\\" if self.escape == "backslash" else None,
            doublequote=self.escape == "doubled",
            strict=True,
        )


class Unclear(Exception):
    """A file that can be read in more ways than one, or in none: ``args`` are the message, and the line or None."""


def dialect_of(sample: str, columns: Sequence[str], kind: str, asked: ReadSpec, *, cut: bool = False) -> Dialect:
    """The dialect in which the header of ``sample`` has all of ``columns``; ``cut``: the file is longer than it.

    Raises ``Unclear``.
    """
    delimiter, quote, header = _header(sample, columns, kind, asked)
    found = Scan(sample, cut, delimiter, quote, "doubled", len(header))
    chosen: str | None = quote
    if asked.quote == "none":
        chosen = None
    elif asked.quote in OPEN and asked.escape in (*OPEN, "doubled"):
        chosen = _quote(found)
    escape = _escape(found.as_(chosen)) if asked.escape in OPEN and chosen else asked.escape
    ends = frozenset(found.as_(chosen).line_ends)
    return Dialect(delimiter, chosen, "backslash" if escape == "backslash" else "doubled", header, ends)


def _header(sample: str, columns: Sequence[str], kind: str, asked: ReadSpec) -> tuple[str, str, tuple[str, ...]]:
    """Delimiter, quote and names: the first of the usual ones in which the names are all there, once."""
    given = asked.delimiter not in OPEN
    delimiters = str(asked.delimiter) if given else DELIMITERS[kind]
    quotes = QUOTES if asked.quote in (*OPEN, "none") else (str(asked.quote),)
    first: tuple[str, ...] = ()
    for quote in quotes:
        for delimiter in delimiters:
            names = _names(sample, delimiter, quote)
            if len(names) > MAX_COLUMNS:
                raise Unclear(too_many(len(names)), 1)
            first = first or names
            if all(names.count(column) == 1 for column in columns):
                return delimiter, quote, names
    missing = next(column for column in columns if first.count(column) != 1)
    raise Unclear(no_column(missing, first), 1)


def widest_header(sample: str, kind: str) -> tuple[str, tuple[str, ...]]:
    """Where no names are asked for: the delimiter that makes most names of the first row, and these names."""
    headers = [(delimiter, _names(sample, delimiter, QUOTES[0])) for delimiter in DELIMITERS[kind]]
    return max(headers, key=lambda pair: len(pair[1]))


def _names(sample: str, delimiter: str, quote: str) -> tuple[str, ...]:
    rows = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter, quotechar=quote)
    try:
        return tuple(name.strip() for name in next((row for row in rows if row), []))
    except csv.Error:
        return ()


def too_many(columns: int) -> str:
    return f"the file has {columns} columns; at most {MAX_COLUMNS} are read"


def no_column(column: str, header: Sequence[str]) -> str:
    if column in header:
        return f"column {column!r} stands there more than once"
    if len(header) > MAX_COLUMNS:
        return f"no column {column!r}; {too_many(len(header))}"
    header = [name[:LONGEST_NAME] for name in header[:LOOKED_AT]]
    near = get_close_matches(column, header, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "the columns are: " + ", ".join(map(repr, header[:20]))
    return f"no column {column!r}; {hint}"


def _quote(found: Scan) -> str | None:
    """The quote that fields stand in; None where they stand in none."""
    plain = found.as_(None)
    if not found.quoted:
        return _other_quote(found, plain) or found.quote
    if not plain.clean or (found.clean and not found.bare) or _escape(found) == "backslash":
        return found.quote
    if not found.clean and not found.wrapped:
        return None
    raise Unclear(
        f"some fields stand in {found.quote} and others have it inside: it is not clear what it means. Say"
        f' task.read.quote: {json.dumps(found.quote)} where fields stand in it, or "none" where it is of the texts',
        found.malformed or found.bare or found.ragged,
    )


def _other_quote(found: Scan, plain: Scan) -> str | None:
    """An apostrophe where it is certain: every one of them is a quote, and some field needs it, or all stand in it."""
    other = found.as_("'")
    needed = other.special or not plain.clean or not other.open_words
    if other.wrapped and other.clean and not other.bare and needed:
        if plain.clean and plain.records != other.records:
            raise Unclear(
                "an apostrophe begins some fields, and with it as a quote the file has other rows than without: it is"
                ' not clear what it means. Say task.read.quote: "\'" where fields stand in it, or "none" where it is'
                " of the texts",
                other.special_line or 1,
            )
        return "'"
    if _escape(other) == "backslash":
        return "'"
    return None


def _escape(found: Scan) -> Escape:
    """Whether a backslash takes the meaning from what stands after it: in a file that is written so, it stands nowhere
    but before a quote, a delimiter, a line end or another backslash.
    """
    after = {pair[1] for pair in _PAIR.finditer(found.sample)}
    marks = {found.quote, found.delimiter, "\\"}
    if not after & marks:
        return "doubled"
    written_so = after <= marks | {"\n", "\r"}
    escaped = Scan(found.sample, found.cut, found.delimiter, found.quote, "backslash", found.width)
    if not escaped.clean or (found.clean and not written_so):
        return "doubled"
    if not found.clean and written_so:
        return "backslash"
    at = next(pair.start() for pair in _PAIR.finditer(found.sample) if pair[1] in marks)
    raise Unclear(
        f"a backslash stands before {found.sample[at + 1]}, and it is not clear whether it is part of the text. Say"
        ' task.read.escape: "backslash" where it is not, or "doubled" where it is',
        1 + found.sample[:at].count("\n"),
    )


_BLANK = re.compile(r"[\r\n]+")
_PAIR = re.compile(r"\\(.)", re.DOTALL)


@dataclass
class Scan:
    """What the records of ``sample`` look like in one dialect.

    ``quoted`` fields begin with a quote: those that are ``wrapped`` end with one too, and are ``special`` where they
    need it, the first at ``special_line``. ``open_words``: some stand in none and are no numbers. ``malformed``,
    ``bare`` and ``ragged``: the first line of a field that begins and does not end with a quote, of one with a quote
    inside that does not begin with one, and of a record that does not have ``width`` fields.
    """

    sample: str
    cut: bool
    delimiter: str
    quote: str | None
    escape: Escape
    width: int
    wrapped: int = 0
    special: int = 0
    special_line: int | None = None
    records: int = 0
    open_words: bool = False
    malformed: int | None = None
    bare: int | None = None
    ragged: int | None = None
    line_ends: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        sample, size, quote = self.sample, len(self.sample), self.quote or "\0"
        at, line, width = 0, 1, 0
        field_at, unclosed_at = _patterns(self.delimiter, self.quote, self.escape)
        while at < size:
            if not width and (blank := _BLANK.match(sample, at)):
                # Together: a megabyte of line ends is a million records.
                line, at = line + self._count_blank(blank[0]), blank.end()
                continue
            if self.cut and sample[at] == quote and unclosed_at.match(sample, at):
                return
            match = field_at.match(sample, at)
            assert match is not None
            inner, text, end = match["wrapped"], match["field"], match["end"]
            at = match.end()
            if self.cut and at == size:
                return  # the record may go on, and so may the line end
            width += 1
            if text:
                self._count(inner, text, line)
                line += text.count("\n")
            if end != self.delimiter:
                self.records += 1
                if width != self.width:
                    self.ragged = self.ragged or line
                self.line_ends |= {end} if end else set()
                line, width = line + (end != ""), 0

    def _count_blank(self, ends: str) -> int:
        """Records without a field; how many."""
        alone = ends.replace("\r\n", "")
        self.line_ends |= {*alone, *(["\r\n"] if alone != ends else [])}
        count = ends.count("\r\n") + len(alone)
        self.records += count
        return count

    def _count(self, inner: str | None, text: str, line: int) -> None:
        quote = self.quote or "\0"
        if inner is not None:
            self.wrapped += 1
            if any(mark in inner for mark in (self.delimiter, "\n", "\r", quote)):
                self.special += 1
                self.special_line = self.special_line or line
            return
        self.open_words = self.open_words or as_number(text) is None
        if text.startswith(quote):
            self.malformed = self.malformed or line
        elif quote in text:
            self.bare = self.bare or line

    def as_(self, quote: str | None) -> Scan:
        """The same sample with another quote; where it has neither, that is no other."""
        if quote == self.quote or not any(mark and mark in self.sample for mark in (quote, self.quote)):
            return self
        return Scan(self.sample, self.cut, self.delimiter, quote, "doubled", self.width)

    @property
    def quoted(self) -> bool:
        return bool(self.wrapped or self.malformed)

    @property
    def clean(self) -> bool:
        return not (self.malformed or self.ragged)


@cache
def _patterns(delimiter: str, quote: str | None, escape: Escape) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """One field and what ends it; and one that begins with a quote, and has no end."""
    d, q = re.escape(delimiter), re.escape(quote or "")
    end = rf"(?P<end>{d}|\r\n|\n|\r|\Z)"
    plain, inner = rf"[^{d}\r\n]*", rf"[^{q}]*(?:{q}{q}[^{q}]*)*" if q else ""
    if escape == "backslash":
        plain = rf"[^{d}\r\n\\]*(?:\\[^\r\n]?[^{d}\r\n\\]*)*"
        inner = rf"[^{q}\\]*(?:\\.[^{q}\\]*)*"
    if quote is None:
        return re.compile(rf"(?P<field>(?P<wrapped>(?!))|{plain}){end}"), re.compile(r"(?!)")
    wrapped = rf"{q}(?P<wrapped>{inner}){q}(?={d}|[\r\n]|\Z)"
    return re.compile(rf"(?P<field>{wrapped}|{plain}){end}", re.DOTALL), re.compile(rf"{q}{inner}\Z", re.DOTALL)
