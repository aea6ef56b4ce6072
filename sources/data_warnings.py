"""What a table shows that makes a score mean less than it seems to."""

from __future__ import annotations

from collections.abc import Iterator

from api_schemas.task_spec import TaskSpec
from sources.rows import Rows


def table_warnings(spec: TaskSpec, train: Rows, dev: Rows) -> tuple[str, ...]:
    """For the report and the card, of the user's own table."""
    return (*_columns(spec), *_skipped(train), *_skipped(dev), *_seen_before(train, dev))


def _columns(spec: TaskSpec) -> Iterator[str]:
    if spec.label_column in spec.text_columns:
        yield f"the label column {spec.label_column!r} is read as a text too: the model is told what it is to learn"
    for column in dict.fromkeys(spec.text_columns):
        if spec.text_columns.count(column) > 1:
            yield f"the text column {column!r} is given more than once"


def _skipped(rows: Rows) -> Iterator[str]:
    if rows.skipped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(rows.skipped.items()))
        yield f"{rows.dropped} rows of {rows.source} were left out, as task.read.bad_rows says: {reasons}"


def _seen_before(train: Rows, dev: Rows) -> Iterator[str]:
    """By their hashes: the texts may be more than memory holds."""
    asked = [hash(text) for chunk in dev.chunks() for text in chunk]
    wanted = set(asked)
    seen = {found for chunk in train.chunks() for text in chunk if (found := hash(text)) in wanted}
    count = sum(text in seen for text in asked)
    if count:
        yield f"{count} of the {len(dev)} dev rows have texts that are in the training rows too: the score is too good"
