"""Uploads: a row each in their list, and what was found in one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from api_schemas.architectures import ModelFacts
from api_schemas.uploads import ColumnInfo, Dataset, DatasetInspection, Model, TableInspection, UploadStatus
from service.pages.views.choices import upload_name
from service.pages.views.jobs import shortened
from service.pages.views.states import Word
from service.pages.words import plural, short

STATES: dict[UploadStatus, Word] = {
    UploadStatus.UPLOADING: Word("Uploading", "waiting", "half", "Not all of it has come."),
    UploadStatus.READY: Word("Ready", "good", "check", "Jobs may use it."),
    UploadStatus.FAILED: Word("Failed", "bad", "cross", "It is nothing that a job could use."),
}
#: Columns that are called so hold labels, and not text.
LABEL_NAMES = ("label", "labels", "score", "class", "target", "category", "rating", "sentiment")
#: Labels and columns that are shown of a table; values of a column.
MOST_LABELS, MOST_COLUMNS, MOST_EXAMPLES = 20, 60, 3


@dataclass(frozen=True)
class UploadRow:
    kind: str
    id: str
    path: str
    name: str
    source: str
    status: Word
    found: str
    bytes: int
    created_at: datetime
    expires_at: datetime | None
    used: bool


def upload_row(upload: Dataset | Model) -> UploadRow:
    return UploadRow(
        kind=upload.object,
        id=upload.id,
        path=f"/ui/uploads/{upload.object}/{upload.id}",
        name=shortened(upload_name(upload)),
        source=upload.source,
        status=STATES[upload.status],
        found=_found(upload),
        bytes=upload.bytes,
        created_at=upload.created_at,
        expires_at=upload.expires_at,
        used=bool(upload.used_by),
    )


def _found(upload: Dataset | Model) -> str:
    if upload.error is not None:
        return shortened(upload.error.message)
    if upload.inspection is None:
        return ""
    if isinstance(upload.inspection, ModelFacts):
        return f"{upload.inspection.architecture}, {plural(upload.inspection.layers, 'layer')}"
    rows = upload.inspection.rows
    columns = plural(len(upload.inspection.columns), "column")
    return columns if rows is None else f"{plural(rows, 'row')}, {columns}"


@dataclass(frozen=True)
class Table:
    """One file of a dataset; ``labels`` by column."""

    file: str
    format: str
    rows: int | None
    exact: bool
    columns: list[ColumnInfo]
    hidden_columns: int
    labels: list[tuple[str, list[tuple[str, int]]]]
    bad_rows: int
    bad_lines: list[str]
    note: str | None


@dataclass(frozen=True)
class UploadView:
    row: UploadRow
    sha256: str | None
    files: list[tuple[str, int]]
    notes: list[str]
    used_by: list[str]
    error: str | None
    tables: list[Table]
    facts: list[tuple[str, str]]
    #: Where it is used: the form of a job, with it.
    use: str | None


def upload_view(upload: Dataset | Model) -> UploadView:
    found = upload.inspection
    tables = [_table(one) for one in (found, *found.others)] if isinstance(found, DatasetInspection) else []
    return UploadView(
        row=upload_row(upload),
        sha256=upload.sha256,
        files=[(file.name, file.bytes) for file in upload.files],
        notes=upload.notes,
        used_by=upload.used_by,
        error=upload.error.message if upload.error else None,
        tables=tables,
        facts=_facts(found) if isinstance(found, ModelFacts) else [],
        use=_use(upload),
    )


def _table(found: TableInspection) -> Table:
    labels = [
        (column, list(counts.items())[:MOST_LABELS])
        for column, counts in found.label_counts.items()
        if 1 < len(counts) <= MOST_LABELS
    ]
    return Table(
        file=found.file,
        format=found.format,
        rows=found.rows,
        exact=found.complete,
        columns=[_cut(column) for column in found.columns[:MOST_COLUMNS]],
        hidden_columns=max(0, len(found.columns) - MOST_COLUMNS),
        labels=labels[:6],
        bad_rows=found.bad_rows,
        bad_lines=[
            f"{f'line {line.line}: ' if line.line is not None else ''}{line.reason}" for line in found.bad_lines[:5]
        ],
        note=found.note,
    )


def _cut(column: ColumnInfo) -> ColumnInfo:
    return column.model_copy(update={"examples": [shortened(one) for one in column.examples[:MOST_EXAMPLES]]})


def _facts(found: ModelFacts) -> list[tuple[str, str]]:
    sizes = [
        ("Architecture", found.architecture),
        ("Layers", str(found.layers)),
        ("Width", str(found.hidden_size)),
        ("Parameters", short(found.parameters) if found.parameters else ""),
        ("Type of the weights", found.dtype or ""),
        ("Longest input", f"{found.max_positions:,} tokens" if found.max_positions else ""),
        ("Labels of its head", ", ".join(found.labels[:MOST_LABELS]) if found.labels else ""),
        ("License", found.license or ""),
    ]
    return [(name, value) for name, value in sizes if value]


def _use(upload: Dataset | Model) -> str | None:
    """The form, filled in as far as the columns tell: what is called so is the label, and the first texts are text."""
    if upload.status is not UploadStatus.READY:
        return None
    if isinstance(upload, Model):
        return f"/ui/new?{urlencode({'model': upload.source})}"
    columns = upload.inspection.columns if upload.inspection else []
    label = next((one.name for one in columns if one.name.casefold() in LABEL_NAMES), None)
    if label is None and upload.inspection:
        label = next((name for name, counts in upload.inspection.label_counts.items() if 1 < len(counts) <= 20), None)
    texts = [one.name for one in columns if one.type == "text" and one.name != label and "," not in one.name][:2]
    asked = {"source": "table", "dataset": upload.source, "text_columns": ", ".join(texts), "label_column": label or ""}
    return f"/ui/new?{urlencode({name: value for name, value in asked.items() if value})}"
