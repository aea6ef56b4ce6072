"""Rows that a tokenizer knows no word of are counted, and no others."""

import numpy as np
import pytest

from tests.support.tiny_models import tiny_tokenizer
from workers.data import unknown
from workers.data.features import Features, Padding
from workers.data.unknown import largest_token, rows_of_unknown_words

TEXTS = ("the film was a joy", "фильм был радостью", "映画", "", "the фильм")


def features(texts: tuple[str, ...], architecture: str = "bert") -> Features:
    tokenizer = tiny_tokenizer(architecture)
    rows = tokenizer(list(texts))["input_ids"]
    return Features(
        ids=np.asarray([token for row in rows for token in row], dtype=np.int32),
        types=None,
        offsets=np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64),
        labels=np.zeros(len(rows), dtype=np.int64),
        padding=Padding.of(tokenizer),
    )


@pytest.mark.parametrize("block", [1, 2, 100])
def test_a_row_counts_where_every_word_is_unknown(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unknown, "BLOCK_ROWS", block)
    assert rows_of_unknown_words(features(TEXTS), tiny_tokenizer("bert")) == 2


def test_a_tokenizer_of_bytes_knows_every_text() -> None:
    for architecture in ("gpt2", "opt"):
        assert rows_of_unknown_words(features(TEXTS, architecture), tiny_tokenizer(architecture)) == 0


def test_the_largest_token() -> None:
    rows = features(TEXTS)
    assert largest_token(rows) == max(rows.ids)
