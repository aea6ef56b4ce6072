"""What a request names of uploads and object stores, pinned to the very files that were there when it was asked."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from api_schemas.delivered import Sha256

MODEL = "/model"


class PinnedFile(BaseModel):
    """One file. Where its content was not read, ``etag`` and ``version`` are what tells that it is still the same."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="of a model's files, the path in its folder; of data, as `resolved` names it")
    bytes: int
    sha256: Sha256 | None = Field(default=None, description="of its content, where that is known")
    etag: str | None = Field(default=None, description="of an object")
    version: str | None = Field(default=None, description="of an object, where its bucket keeps versions")


class PinnedSource(BaseModel):
    """What one field of a request names. A worker uses these files, or none."""

    model_config = ConfigDict(extra="forbid")

    param: str = Field(description="JSON pointer to the field")
    source: str = Field(description="what the field says: `upload:…`, `s3://…`, `gs://…`, `az://…`")
    files: list[PinnedFile]

    @property
    def is_model(self) -> bool:
        return self.param == MODEL

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)
