"""What a table shows that makes a score mean less than it seems to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from api_schemas.task_spec import TaskSpec
from sources.rows import Rows, TextRow


def table_warnings(spec: TaskSpec, train: Rows, dev: Rows) -> tuple[str, ...]:
    """For the report and the card, of the user's own table."""
    return (*_columns(spec), *_skipped(train), *_skipped(dev), *_seen_before(train, dev))


def pair_warnings(train: Rows, pairs: Rows | None) -> tuple[str, ...]:
    """Of pairs that an embedding is compared on."""
    if pairs is None:
        return ()
    wanted = _hashes(text for pair in _texts(pairs) for text in pair)
    seen = wanted.intersection(hash(text) for (text,) in _texts(train))
    count = sum(any(hash(text) in seen for text in pair) for pair in _texts(pairs))
    return (f"{count} of the {len(pairs)} pairs have texts that are in the training text too",) if count else ()


def text_warnings(dev: dict[str, Rows], text: Rows | None) -> tuple[str, ...]:
    """Of text that is learnt from beside the labelled rows."""
    if text is None:
        return ()
    seen = _hashes(row for rows in dev.values() for row in _texts(rows))
    count = sum(hash(row) in seen for row in _texts(text))
    found = f"{count} of the {len(text)} unlabelled texts are dev rows: the score may be too good"
    return (*_skipped(text, "recovery.text.read"), *((found,) if count else ()))


def _texts(rows: Rows) -> Iterator[TextRow]:
    return (row for chunk in rows.chunks() for row in chunk)


def _hashes(found: Iterable[object]) -> set[int]:
    """Of texts, which may be more than memory holds."""
    return {hash(one) for one in found}


def _columns(spec: TaskSpec) -> Iterator[str]:
    for column in [spec.label_column, *spec.label_columns]:
        if column in spec.text_columns:
            yield f"the label column {column!r} is read as a text too: the model is told what it is to learn"
    for column in dict.fromkeys(spec.text_columns):
        if spec.text_columns.count(column) > 1:
            yield f"the text column {column!r} is given more than once"


def _skipped(rows: Rows, field: str = "task.read") -> Iterator[str]:
    if rows.skipped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(rows.skipped.items()))
        yield f"{rows.dropped} rows of {rows.source} were left out, as {field}.bad_rows says: {reasons}"


def _seen_before(train: Rows, dev: Rows) -> Iterator[str]:
    seen = _hashes(_texts(dev)).intersection(hash(row) for row in _texts(train))
    count = sum(hash(row) in seen for row in _texts(dev))
    if count:
        yield f"{count} of the {len(dev)} dev rows have texts that are in the training rows too: the score is too good"
