"""How a file of the user's own is read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api_schemas.request_parts import Auto, Request

#: A line end, or a NUL, would end the row.
Character = Annotated[str, Field(min_length=1, max_length=1, pattern=r"^[^\r\n\x00]$")]
Escape = Literal["doubled", "backslash"]


class ReadSpec(Request):
    """Every `auto` is worked out from the file, and shown in `resolved`; null is what the file's format has not."""

    delimiter: Character | Auto | None = Field(
        default="auto", description="what stands between two fields of a CSV or TSV"
    )
    quote: Character | Literal["none", "auto"] | None = Field(
        default="auto", description="what fields with a delimiter or a line end in them stand in; none: no field does"
    )
    escape: Escape | Auto | None = Field(
        default="auto", description="how a quote is written inside quotes: twice, or after a backslash"
    )
    encoding: Annotated[str, Field(min_length=1, max_length=40)] | Auto | None = Field(
        default="auto", description="such as cp1252; auto: UTF-8, or what a byte order mark says"
    )
    bad_rows: Literal["refuse", "skip"] = Field(
        default="refuse", description="skip: rows that cannot be used are left out, and counted in report and card"
    )
