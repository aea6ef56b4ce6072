"""Uploads: data and models that are sent to the service, how they are sent, and what was found in them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from api_schemas.architectures import ModelFacts
from api_schemas.delivered import Sha256
from api_schemas.errors import JobError
from api_schemas.read_spec import ReadSpec
from api_schemas.request_parts import Name, Request

#: How a request names an upload: all of it, or one file of several.
PREFIX = "upload:"
UPLOAD_ID = r"upl_[0-9a-hjkmnp-tv-z]{24}"
UPLOAD_REF = rf"{PREFIX}{UPLOAD_ID}"

#: Of one upload: as many shards as an index may list, and what lies beside them.
MAX_FILES = 1200
#: Of a file's name, with the folder that it is in; and of either alone, in bytes: a disk takes 255, and the store calls
#: a file that it is writing by its name and a number.
LONGEST_NAME, LONGEST_PART = 255, 240
#: No store holds more.
MOST_BYTES = 2**50

UploadRef = Annotated[str, Field(max_length=35, pattern=f"^{UPLOAD_REF}$")]


class UploadKind(StrEnum):
    DATASET = "dataset"
    MODEL = "model"


class UploadStatus(StrEnum):
    #: Bytes are missing, or nobody has said yet that all are there.
    UPLOADING = "uploading"
    #: Jobs may use it. It never changes again.
    READY = "ready"
    #: All bytes came, and they are nothing that a job could use. The files are gone.
    FAILED = "failed"


class NewFile(Request):
    """A file that is to be sent."""

    name: str = Field(min_length=1, max_length=LONGEST_NAME, description="with one folder before it at most")
    bytes: int = Field(ge=0, le=MOST_BYTES, description="that will be sent")
    sha256: Sha256 | None = Field(default=None, description="checked once all of it is there")


class UploadRequest(Request):
    """The body of ``POST /v1/datasets`` and ``POST /v1/models``, where the files are sent later, in parts."""

    files: Annotated[list[NewFile], Field(min_length=1, max_length=MAX_FILES)] = Field(description="that will be sent")
    name: Name | None = Field(default=None, description="for people")


class UploadedFile(BaseModel):
    name: str = Field(description="its path, with slashes")
    bytes: int = Field(description="its whole size")
    received: int = Field(description="where the next part begins")
    sha256: str | None = Field(description="of what is there; until then what was announced, if anything was")


class ColumnInfo(BaseModel):
    """One column of a table, as far as it was looked at."""

    name: str = Field(description="of the column")
    type: Literal["text", "integer", "number", "boolean", "list", "empty"] = Field(
        description="what all its values can be read as"
    )
    nulls: int = Field(description="values that are missing, or blank")
    distinct: int | None = Field(default=None, description="different values; null where they are very many")
    examples: list[str] = Field(description="the first that differ, cut where they are long")


class BadLine(BaseModel):
    """A line that is no row."""

    line: int | None = Field(description="from 1; null where the format has no lines")
    reason: str = Field(description="what is wrong with it")
    text: str = Field(description="how it begins")


class TableInspection(BaseModel):
    """What is in one file of a dataset."""

    file: str = Field(description="that was looked at")
    format: str = Field(description="csv, tsv, json, jsonl, parquet, txt, conll")
    rows: int | None = Field(
        description="good ones; an estimate where not all of the file was looked at, null where it could not be read"
    )
    complete: bool = Field(description="whether all of the file was looked at: all numbers are exact then")
    columns: list[ColumnInfo] = Field(description="in the order of the file")
    label_counts: dict[str, dict[str, int]] = Field(
        description="of columns with few different values: how often each occurs, the most frequent first"
    )
    bad_rows: int = Field(description="lines that are no row, in what was looked at")
    bad_lines: list[BadLine] = Field(description="the first of them")
    read: ReadSpec | None = Field(default=None, description="how the file was read")
    note: str | None = Field(default=None, description="why it was looked at less than a job will")


class DatasetInspection(TableInspection):
    """Of the training file, where there are several: `train.*`, else the first."""

    others: list[TableInspection] = Field(default=[], description="the other files, in the order of their names")


class Upload(BaseModel):
    """What datasets and models have in common."""

    id: str = Field(description="names it in all calls")
    status: UploadStatus = Field(description="whether a job may use it")
    name: str | None = Field(description="as it was sent with")
    source: str = Field(description="how a request for a job names it")
    files: list[UploadedFile] = Field(description="in the order in which they were sent")
    bytes: int = Field(description="of all files")
    sha256: str | None = Field(
        description="of the one file; of several, of the lines that `sha256sum` prints of them, sorted by name"
    )
    notes: list[str] = Field(default=[], description="what was sent and left out, and why")
    error: JobError | None = Field(description="why it has failed")
    created_at: datetime = Field(description="when it was made, RFC 3339 in UTC")
    expires_at: datetime | None = Field(description="until when it is kept unless it is used; null: for ever")
    used_by: list[str] = Field(default=[], description="jobs that have not ended and work on it, ten at most")


class Dataset(Upload):
    """Rows that were sent to be learnt from, or scored on."""

    object: Literal["dataset"] = Field(default="dataset", description="what kind of thing this is")
    inspection: DatasetInspection | None = Field(description="null until it is ready")


class Model(Upload):
    """A model that was sent to lose layers."""

    object: Literal["model"] = Field(default="model", description="what kind of thing this is")
    inspection: ModelFacts | None = Field(description="null until it is ready")


class DatasetList(BaseModel):
    """One page, newest first. The next page is asked for with ``after=<the last id>``."""

    object: Literal["list"] = Field(default="list", description="what kind of thing this is")
    data: list[Dataset] = Field(description="the datasets, newest first")
    has_more: bool = Field(description="whether there is another page")
    next_cursor: str | None = Field(description="give it as `after`; null on the last page")


class ModelList(BaseModel):
    """One page, newest first. The next page is asked for with ``after=<the last id>``."""

    object: Literal["list"] = Field(default="list", description="what kind of thing this is")
    data: list[Model] = Field(description="the models, newest first")
    has_more: bool = Field(description="whether there is another page")
    next_cursor: str | None = Field(description="give it as `after`; null on the last page")


#: What each kind is shown as.
SHOWN: dict[UploadKind, type[Dataset] | type[Model]] = {UploadKind.DATASET: Dataset, UploadKind.MODEL: Model}
