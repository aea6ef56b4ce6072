"""What the runners of a job said, in pieces: for people who look for a reason."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field


class LogPiece(BaseModel):
    """Some lines that were written down together."""

    offset: int = Field(description="place of the first byte of `text` (UTF-8) in the whole log")
    attempt: int
    created_at: datetime
    text: str

    @property
    def end(self) -> int:
        """The offset after its last byte."""
        return self.offset + len(self.text.encode())


class LogPage(BaseModel):
    """A part of the log. The next is asked for with ``offset=<next_offset>``."""

    data: list[LogPiece]
    next_offset: int
    start: int = Field(description="what lies before this offset is no longer kept")
    complete: bool = Field(description="the job has ended, and nothing comes after this page")
