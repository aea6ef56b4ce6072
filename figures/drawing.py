"""A figure, ready to be had as SVG or PNG: by theme, with the words for who cannot see it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from figures.library import DOTS, drawing
from figures.style import Inks, Printed, Theme
from figures.svg import Link, cleaned
from figures.words import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """``alt``: a sentence or two, with the numbers. ``draw`` makes it in the colours that it is given; ``links`` are of
    its parts, by what ``draw`` calls them.
    """

    name: str
    title: str
    alt: str
    draw: Callable[[Inks], Figure] = field(repr=False)
    links: Mapping[str, Link] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        # Words of strangers stand in both.
        object.__setattr__(self, "title", plain(self.title, 200))
        object.__setattr__(self, "alt", plain(self.alt, 2000))

    def svg(self, theme: Theme = "auto", *, inline: bool = False, prefix: str | None = None) -> str:
        """``inline``: to stand in a page that has ``figures.style.css()``, whatever its policy: no style, no prolog.

        ``prefix`` begins every id; without one, it is made of what is drawn, and the same for the same.
        """
        with drawing():
            raw = io.StringIO()
            metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            self.draw(Inks.of("light")).savefig(raw, format="svg", metadata=metadata)
        return cleaned(
            raw.getvalue(), name=self.name, title=self.title, alt=self.alt, links=self.links,
            theme=None if inline else theme, prefix=prefix,
        )  # fmt: skip

    def png(self, theme: Printed = "light", scale: float = 2.0) -> bytes:
        """``scale`` pixels for each of a figure that is 720 wide."""
        with drawing():
            raw = io.BytesIO()
            metadata = {"Software": None, "Title": self.title, "Description": self.alt}
            inks = Inks.of(theme)
            self.draw(inks).savefig(raw, format="png", dpi=DOTS * scale, metadata=metadata, facecolor=inks["paper"])
        return raw.getvalue()
