"""Tokenized rows that say nothing to a model: of words its tokenizer does not know, or of tokens beyond its own."""

from __future__ import annotations

import numpy as np
from transformers import PreTrainedTokenizerBase

from workers.data.features import Features

#: Rows at a time: the table may be larger than memory.
BLOCK_ROWS = 65_536


def largest_token(features: Features) -> int:
    """The largest id in any row; -1 where there is none."""
    return int(features.ids.max()) if len(features.ids) else -1


def rows_of_unknown_words(features: Features, tokenizer: PreTrainedTokenizerBase) -> int:
    """How many rows hold unknown words, and not one that is known."""
    unknown = tokenizer.unk_token_id
    special = set(tokenizer.all_special_ids)
    others = {getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "sep", "pad", "cls", "mask")}
    # Tokenizers of bytes know every text, and name another special token for the unknown one that they never use.
    if unknown is None or unknown in others:
        return 0
    found = 0
    for start in range(0, len(features), BLOCK_ROWS):
        offsets = np.asarray(features.offsets[start : start + BLOCK_ROWS + 1])
        ids = np.asarray(features.ids[offsets[0] : offsets[-1]])
        known = _in_rows(~np.isin(ids, list(special)), offsets - offsets[0])
        found += int(np.count_nonzero((known == 0) & (_in_rows(ids == unknown, offsets - offsets[0]) > 0)))
    return found


def _in_rows(chosen: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """How many tokens of each row are ``chosen``."""
    before = np.concatenate([[0], np.cumsum(chosen)])
    return np.asarray(before[offsets[1:]] - before[offsets[:-1]])
