"""How wide vectors are on their way through the modules of a sentence-transformers folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: The keys that say how wide the vectors are which a module takes, as releases of sentence-transformers have them.
TAKES = {
    "Pooling": ("embedding_dimension", "word_embedding_dimension"),
    "Dense": ("in_features",),
    "LayerNorm": ("dimension",),
}
SENTENCE = "sentence_embedding"
OLD_MODE = "pooling_mode_"


@dataclass(frozen=True)
class Step:
    """A module: what ``kind`` it is, the ``file`` of its config, and what the config says."""

    kind: str
    file: str
    config: dict[str, Any]


@dataclass(frozen=True)
class Mismatch:
    """The ``file`` of a module that takes vectors of another width than what comes before it makes."""

    file: str
    takes: int
    made: int


def first_mismatch(steps: Sequence[Step], made: int) -> Mismatch | None:
    """Of the modules after a model that makes vectors of ``made``; one that does not say a width is believed."""
    comes: int | None = made
    for step in steps:
        if step.kind == "Dense" and not _is_on_sentences(step):
            comes = None  # of tokens, which the Pooling then takes
            continue
        takes = next((size for key in TAKES.get(step.kind, ()) if (size := _size(step.config, key))), None)
        if takes is not None and comes is not None and takes != comes:
            return Mismatch(step.file, takes, comes)
        if step.kind == "Pooling":
            comes = takes and takes * _modes(step.config)
        elif step.kind == "Dense":
            comes = _size(step.config, "out_features")
    return None


def _is_on_sentences(dense: Step) -> bool:
    given = dense.config.get("module_input_name", SENTENCE)
    return bool(given == SENTENCE and (dense.config.get("module_output_name") or SENTENCE) == SENTENCE)


def _size(config: dict[str, Any], key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _modes(config: dict[str, Any]) -> int:
    """Of which each makes a vector of its own."""
    mode = config.get("pooling_mode")
    if mode is not None:
        return len(mode) if isinstance(mode, list) else 1
    return max(1, sum(value is True for key, value in config.items() if key.startswith(OLD_MODE)))
