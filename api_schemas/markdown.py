"""Text of others within Markdown of ours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any


def line(value: Any) -> str:
    """On one line, and nothing in it that Markdown or HTML would act on."""
    text = " ".join(str(value).split())
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", text)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[bool]) -> str:
    """A table of cells as they are; ``numbers`` says which columns stand to the right."""
    rule = ["---:" if number else "---" for number in numbers]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (columns, rule, *rows))
