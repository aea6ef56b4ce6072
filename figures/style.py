"""How figures look: the colours of each part, light and dark, marks, dashes and sizes of letters.

The colours of series are those of Okabe and Ito, which colour-blind people tell apart; each has a mark and a dash of
its own as well, so that a grey print can be read.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Theme = Literal["auto", "light", "dark"]
Printed = Literal["light", "dark"]


class Shades(NamedTuple):
    light: str
    dark: str


#: By the name that a part has in a page's stylesheet, behind `fig-`. No two are alike in light: an SVG's colours are
#: told apart by them.
COLOURS: dict[str, Shades] = {
    "paper": Shades("#ffffff", "#14171c"),
    "ink": Shades("#1b1f24", "#eceff3"),
    "muted": Shades("#59636e", "#a3adb8"),
    "grid": Shades("#dde2e7", "#2f3640"),
    "faint": Shades("#f1f4f7", "#20262e"),
    "c0": Shades("#0072b2", "#4fa8e0"),
    "c1": Shades("#c95100", "#f58a4b"),
    "c2": Shades("#00835f", "#2fc79b"),
    "c3": Shades("#a8548a", "#e39fc7"),
    "c4": Shades("#b07d00", "#efb63c"),
    "c5": Shades("#2f95c9", "#93d3f5"),
    "c6": Shades("#6b5b4b", "#c9b8a6"),
    "c7": Shades("#3d3d8f", "#a7a7f0"),
    # From the least important layer to the most.
    "s0": Shades("#e2eff8", "#1d2f3e"),
    "s1": Shades("#b7d6ec", "#23496a"),
    "s2": Shades("#7fb4d9", "#2f6c9c"),
    "s3": Shades("#2f78ae", "#5ba3d4"),
    "s4": Shades("#0b5a92", "#a5d3f3"),
}
SERIES = tuple(name for name in COLOURS if name[0] == "c")
RAMP = tuple(name for name in COLOURS if name[0] == "s")

#: On which of the ramp text is in the colour of paper.
DARK_SHADES = frozenset({"s3", "s4"})

MARKS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h", "*")
DASHES: tuple[object, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (8, 3)))

#: In pixels of a figure that is 720 wide.
WIDTH = 720
TITLE, TEXT, SMALL = 15, 12.5, 11.5


class Inks(dict[str, str]):
    """The colours of one theme, by name."""

    @classmethod
    def of(cls, theme: Printed) -> Inks:
        return cls({name: getattr(shades, theme) for name, shades in COLOURS.items()})


class Look(NamedTuple):
    colour: str
    mark: str
    dash: object


def look(number: int) -> Look:
    """Of the series with that number: no two of the first ninety-six are alike in both colour and mark."""
    return Look(
        SERIES[number % len(SERIES)],
        MARKS[(number % len(SERIES) + number // len(SERIES)) % len(MARKS)],
        DASHES[(number + number // len(SERIES)) % len(DASHES)],
    )


def css() -> str:
    """The stylesheet of pages that have figures inline: `fig-<part>` fills, and `fig-<part>-line` draws."""
    own = (
        ".fig{max-width:100%;height:auto}",
        ".fig a:focus{outline:2px solid currentColor;outline-offset:2px}",
        ".fig a{cursor:pointer}",
    )
    return "\n".join((*own, _rules("light"), f"@media (prefers-color-scheme:dark){{{_rules('dark')}}}", ""))


def dark_rules(used: set[str]) -> str:
    """What a figure that stands alone is told for the dark: of the classes that it has."""
    return f"@media (prefers-color-scheme:dark){{{_rules('dark', used)}}}"


def _rules(theme: Printed, used: set[str] | None = None) -> str:
    rules = {
        f"fig-{name}{end}": f"{kind}:{colour}"
        for name, colour in Inks.of(theme).items()
        for end, kind in (("", "fill"), ("-line", "stroke"))
    }
    return "".join(f".{name}{{{said}}}" for name, said in rules.items() if used is None or name in used)
