"""How wide vectors are on their way through the modules of a sentence-transformers folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: Of a Pooling, as releases of sentence-transformers have called it.
POOLED = ("embedding_dimension", "word_embedding_dimension")
SENTENCE = "sentence_embedding"
OLD_MODE = "pooling_mode_"


@dataclass(frozen=True)
class Step:
    """A module: the ``file`` of its config, what ``kind`` it is, and what the config says."""

    kind: str
    file: str
    config: dict[str, Any]


@dataclass(frozen=True)
class Mismatch:
    """A module that takes vectors of another width than come to it."""

    file: str
    takes: int
    comes: int

    @property
    def what(self) -> str:
        return f"takes vectors of {self.takes}, and what comes before it makes {self.comes}"


def pooled_width(steps: Sequence[Step]) -> tuple[str, int] | None:
    """The file of the Pooling that the model's vectors come to, and how wide it takes them to be; None where it does
    not say, or where they are changed before.
    """
    for step in steps:
        if step.kind == "Pooling":
            width = next((width for key in POOLED if (width := _size(step.config, key))), None)
            return (step.file, width) if width else None
        if step.kind == "Dense" and step.config.get("module_input_name", SENTENCE) != SENTENCE:
            return None
    return None


def first_mismatch(steps: Sequence[Step]) -> Mismatch | None:
    """After the Pooling; a module that does not say a width is believed."""
    comes: int | None = None
    for step in steps:
        if step.kind == "Pooling":
            found = pooled_width([step])
            comes = found and found[1] * _modes(step.config)
            continue
        takes = _size(step.config, TAKES.get(step.kind, ""))
        if comes is None or takes is None or step.config.get("module_input_name", SENTENCE) != SENTENCE:
            continue
        if takes != comes:
            return Mismatch(step.file, takes, comes)
        if step.kind == "Dense" and (step.config.get("module_output_name") or SENTENCE) == SENTENCE:
            comes = _size(step.config, "out_features")
    return None


#: The key that says how wide the vectors are which a module takes.
TAKES = {"Dense": "in_features", "LayerNorm": "dimension"}


def _size(config: dict[str, Any], key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _modes(config: dict[str, Any]) -> int:
    """Of which each makes a vector of its own."""
    mode = config.get("pooling_mode")
    if mode is not None:
        return len(mode) if isinstance(mode, list) else 1
    return max(1, sum(value is True for key, value in config.items() if key.startswith(OLD_MODE)))
