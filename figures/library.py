"""The one place where matplotlib is imported: only once something is drawn, as it takes half a second."""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api_schemas.errors import LayercutError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Pixels of a figure are its points: SVG has no other unit in matplotlib.
DOTS = 72

# What would hang on the machine or the day: its own settings are the library's defaults and these.
SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with the library: the same widths everywhere
    "svg.fonttype": "none",
    "svg.hashsalt": "layercut",
    "text.parse_math": False,
    "text.usetex": False,
    "axes.unicode_minus": True,
    "path.simplify": True,
}


def load() -> None:
    """Raises ``figures_not_installed`` where the extra is not."""
    # At home it says how it looks for fonts, and where it keeps what it found.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # It asks fc-list for the machine's fonts, which says on stderr where it may not read /etc/fonts.
    os.environ.setdefault("FONTCONFIG_FILE", str(Path(__file__).with_name("fonts.conf")))
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError:
        text = "figures are drawn by matplotlib, which is not installed here: pip install 'layercut[figures]'"
        raise LayercutError("figures_not_installed", text) from None


@contextmanager
def drawing() -> Iterator[None]:
    """Within, what is drawn hangs on nothing but what it is drawn from. One thread at a time."""
    load()
    matplotlib = importlib.import_module("matplotlib")
    # A browser has glyphs for all of them; a picture has a box there, and that is all there is to say.
    warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
    defaults = {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"}
    with matplotlib.rc_context({**defaults, **SETTINGS}):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many pixels, without a window behind it."""
    figure: Figure = importlib.import_module("matplotlib.figure").Figure(
        figsize=(width / DOTS, height / DOTS), dpi=DOTS
    )
    return figure
