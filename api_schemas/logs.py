"""What the runners of a job said, in pieces: for people who look for a reason."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field


class LogPiece(BaseModel):
    """Some lines that were written down together."""

    offset: int = Field(description="place of the first byte of `text` (UTF-8) in the whole log")
    attempt: int = Field(description="whose runner said it")
    created_at: datetime = Field(description="when it was made, RFC 3339 in UTC")
    text: str = Field(description="its lines, each with its end")

    @property
    def end(self) -> int:
        """The offset after its last byte."""
        return self.offset + len(self.text.encode())


class LogPage(BaseModel):
    """A part of the log. The next is asked for with ``offset=<next_offset>``."""

    data: list[LogPiece] = Field(description="the pieces, in order")
    next_offset: int = Field(description="give it as `offset`")
    start: int = Field(description="what lies before this offset is no longer kept")
    complete: bool = Field(description="the job has ended, and nothing comes after this page")
