"""Rows of every label form: what is picked, told apart and kept."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from typing import Any

import pytest

from sources.rows import RaggedLabels, Rows
from sources.stored_texts import StoredTexts

TEXTS = [("a",), ("b",), ("c",)]


def ragged(*rows: Sequence[int]) -> RaggedLabels:
    return RaggedLabels(rows)


@pytest.mark.parametrize("labels", [[0, 1, 0], [0.5, 1.0, 2.0], ragged((0, 2), (), (1,)), [0, 0, 0]])
def test_rows_are_picked_in_the_order_that_was_asked(labels: Any) -> None:
    picked = Rows(TEXTS, labels, "x", "").pick([2, 0], "y")
    assert list(picked.texts) == [("c",), ("a",)]
    assert list(picked.labels) == [labels[2], labels[0]]
    assert picked.pick([1], "z").labels[0] == labels[0]


def test_the_digest_of_ids_and_numbers_is_the_one_it_always_was() -> None:
    texts = b"".join(len(text).to_bytes(8, "little") + text.encode() for (text,) in TEXTS)
    for labels in (array("q", [0, 1, 0]), array("d", [0.5, 1.0, 2.0])):
        known = hashlib.sha256(labels.typecode.encode() + labels.tobytes() + texts).hexdigest()
        assert Rows(TEXTS, list(labels), "x", "").digest() == known


def test_the_digest_tells_whose_label_it_is() -> None:
    rows = [ragged((0, 2), (), (1,)), ragged((0,), (2,), (1,)), ragged((0, 2), (), (0,)), [0, 0, 0]]
    digests = {Rows(TEXTS, labels, "x", "").digest() for labels in rows}
    assert len(digests) == len(rows)
    assert Rows(TEXTS, ragged((0, 2), (), (1,)), "other", "file").digest() in digests


def test_ragged_labels_are_a_sequence() -> None:
    labels = ragged((0, 2), (), (1,))
    assert (list(labels), labels[-1], labels[1:], len(labels)) == ([(0, 2), (), (1,)], (1,), [(), (1,)], 3)
    assert (list(labels.values), list(labels.ends)) == ([0, 2, 1], [0, 2, 2, 3])
    assert list(labels.renamed([5, 4, 3], as_sets=True)) == [(3, 5), (), (4,)]
    assert list(labels.renamed([5, 4, 3], as_sets=False)) == [(5, 3), (), (4,)]
    with pytest.raises(IndexError):
        labels[3]


def test_words_of_any_number_lie_in_a_file() -> None:
    words = StoredTexts(None)
    words.extend([("one",), ()])
    assert (len(words), words[0], words[1]) == (2, ("one",), ())
    words.extend([("zwölf", "", "x y")])
    assert (len(words), words[-1]) == (3, ("zwölf", "", "x y"))
    rows = Rows(words, ragged((1,), (), (0, 0, 2)), "x", "")
    assert [list(chunk) for chunk in rows.chunks()] == [[("one",), (), ("zwölf", "", "x y")]]
    moved = [("one", "zwölf"), (), ("", "x y")]
    assert rows.digest() != Rows(moved, ragged((1, 0), (), (0, 2)), "x", "").digest()
    assert Rows(words, [0, 0, 0], "x", "").digest() != Rows(moved, [0, 0, 0], "x", "").digest()
