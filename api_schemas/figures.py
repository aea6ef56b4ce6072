"""Which figures there are of a job or a study, and where."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

#: Of an artifact: the folder of the figures that its card shows, their names and their forms.
FOLDER = "figures"
CARD = ("layers", "before_and_after", "curves")
FORMS = ("svg", "png")
FILES = tuple(f"{FOLDER}/{name}.{form}" for name in CARD for form in FORMS)


class FigureInfo(BaseModel):
    """One figure. Either it can be drawn, or ``missing`` says what it needs."""

    name: str = Field(description="names the figure in its address")
    title: str | None = Field(default=None, description="what it shows; null where it cannot be drawn")
    alt: str | None = Field(default=None, description="the same in words, with the numbers: for who cannot see it")
    svg: str | None = Field(default=None, description="where to get it as SVG; `?theme=` auto, light or dark")
    png: str | None = Field(default=None, description="where to get it as PNG; `?theme=` and `&scale=` 1 to 4")
    missing: str | None = Field(default=None, description="why it cannot be drawn, and how it can")


class FigureList(BaseModel):
    object: Literal["list"] = Field(default="list", description="what kind of thing this is")
    data: list[FigureInfo] = Field(description="the figures, in the order in which they are shown")
