"""What the columns of an open table hold: types, missing values, examples, and how often few different values occur."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Literal

from api_schemas.uploads import ColumnInfo
from sources.tables.table import BLANK, Table

#: Columns that are described, of more the first; and of each, examples and their characters.
DESCRIBED, EXAMPLES, SHOWN = 200, 3, 80
#: Of a column whose values are counted: so many differ at most, and none has more characters.
FEW, LONGEST = 50, 100
#: Rows that examples are taken from.
FIRST_ROWS = 100

Type = Literal["text", "integer", "number", "boolean", "list", "empty"]

#: What all values of a column must be, the narrowest first: BOOLEAN comes as true and false.
TYPES: dict[Type, str] = {
    "boolean": "lower(trim({0})) IN ('true', 'false')",
    "integer": r"regexp_full_match(trim({0}), '[+-]?\d{{1,18}}')",
    "number": "TRY_CAST(trim({0}) AS DOUBLE) IS NOT NULL",
    "list": "starts_with(ltrim({0}), '[') AND json_valid({0})",
}


def describe(table: Table) -> tuple[list[ColumnInfo], dict[str, dict[str, int]]]:
    """The columns ``table.texts``, and the counts of those with few different values."""
    names = table.texts[:DESCRIBED]
    if not names:
        return [], {}
    stats = _stats(table, names)
    examples = _examples(table, names)
    columns: list[ColumnInfo] = []
    counts: dict[str, dict[str, int]] = {}
    for at, name in enumerate(names):
        nulls, differ, *fitting = stats[at]
        values = table.profile.rows - nulls
        kind = _type(values, fitting)
        found = _counts(table, f"v{at}") if values and differ <= 2 * FEW else None
        distinct = None if found is None else len(found)
        if kind == "list":
            found = _counts_within(table, f"v{at}")
        if found and 2 * len(found) <= values:
            counts[name] = found
        columns.append(ColumnInfo(name=name, type=kind, nulls=nulls, distinct=distinct, examples=examples[at]))
    return columns, counts


def _stats(table: Table, names: Sequence[str]) -> list[tuple[int, ...]]:
    """Of each column: how many values are missing, how many differ at about, and how many fit each of ``TYPES``."""
    asked: list[str] = []
    for at in range(len(names)):
        blank = BLANK.format(f"v{at}")
        asked += [f"count(*) FILTER ({blank})", f"approx_count_distinct(v{at}) FILTER (NOT {blank})"]
        asked += [f"count(*) FILTER (NOT {blank} AND {fits.format(f'v{at}')})" for fits in TYPES.values()]
    width = 2 + len(TYPES)
    row = table.ask(f"SELECT {', '.join(asked)} FROM {table.rows}")[0]
    return [tuple(row[at : at + width]) for at in range(0, len(row), width)]


def _type(values: int, fitting: Iterable[int]) -> Type:
    if not values:
        return "empty"
    return next((name for name, count in zip(TYPES, fitting, strict=True) if count == values), "text")


def _examples(table: Table, names: Sequence[str]) -> list[list[str]]:
    values = ", ".join(f"left(v{at}, {SHOWN + 1})" for at in range(len(names)))
    rows = table.ask(f"SELECT {values} FROM {table.rows} LIMIT {FIRST_ROWS}")
    return [_first_that_differ(row[at] for row in rows) for at in range(len(names))]


def _first_that_differ(values: Iterable[Any]) -> list[str]:
    filled = (value for value in values if value and value.strip())
    return [_cut(value) for value in islice(dict.fromkeys(filled), EXAMPLES)]


def _cut(value: str) -> str:
    return value if len(value) <= SHOWN else f"{value[:SHOWN]}…"


def _counts(table: Table, value: str) -> dict[str, int] | None:
    """None where there are too many, or one is too long to be a label."""
    return _few(table, f"SELECT {value} AS value FROM {table.rows}")


def _counts_within(table: Table, value: str) -> dict[str, int] | None:
    """Of what stands in lists."""
    return _few(table, f"SELECT unnest(from_json({value}, '[\"VARCHAR\"]')) AS value FROM {table.rows}")


def _few(table: Table, values: str) -> dict[str, int] | None:
    counted = f"SELECT value, count(*) FROM ({values}) WHERE NOT {BLANK.format('value')}"
    rows = table.ask(f"{counted} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {FEW + 1}")
    if len(rows) > FEW or any(len(value) > LONGEST for value, _ in rows):
        return None
    return {value: int(count) for value, count in rows}
