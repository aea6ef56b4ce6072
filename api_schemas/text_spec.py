"""Text without labels, out of a file of the user's own."""

from __future__ import annotations

from pydantic import Field

from api_schemas.read_spec import ReadSpec
from api_schemas.request_parts import Column, DataPath, Positive, Request


class TextSpec(Request):
    """A file of texts, and how many of them are taken."""

    dataset: DataPath = Field(
        min_length=1, description="TXT (a text a line), CSV, TSV, JSON, JSONL or Parquet, named as `task.dataset` is"
    )
    columns: list[Column] = Field(
        default=[],
        max_length=4,
        description="as many as the task has text columns; by default those of the task. TXT has none",
    )
    rows: Positive | None = Field(default=None, description="a seeded sample of this many; by default all")
    read: ReadSpec = ReadSpec()
