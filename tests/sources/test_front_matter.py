"""What is read of a model card's front matter: words and lists of words, whatever else stands there."""

from __future__ import annotations

import pytest

from sources.front_matter import words_of

ASKED = ("license", "library_name", "pipeline_tag", "language", "base_model", "datasets", "tags", "title", "empty")

CARD = b"""---
license: apache-2.0
library_name: "sentence-transformers"
pipeline_tag: sentence-similarity  # what it is for
language:
- en
- 'de'
base_model: google-bert/bert-base-uncased
tags: [a, b]
title: null
model-index:
- name: x
  results:
    - task: {type: y}
    - alone
datasets:
  - nyu-mll/glue
empty:
---
after: all
"""


def test_words_and_lists_of_words_are_read_and_nothing_else() -> None:
    assert words_of(CARD, ASKED) == {
        "license": "apache-2.0",
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "language": ["en", "de"],
        "base_model": "google-bert/bert-base-uncased",
        "datasets": ["nyu-mll/glue"],
        "tags": ["a", "b"],
    }
    assert words_of(CARD.replace(b"\n", b"\r\n"), ASKED) == words_of(CARD, ASKED)


@pytest.mark.parametrize(
    "card",
    [
        b"",
        b"# A card\nlicense: mit\n",
        b"---\nlicense: mit\n",  # without an end
        b"--- license: mit ---",
        b"---\nlicense:\n- &a mit\n- *a\n---\n",
        b"---\nlicense: <script>\ntags:\n- <b>\n---\n",
        b"---\nlicense: " + b"x" * 60_000 + b"\n---\n",
        b"---\n" + b"- a\n" * 15_000 + b"---\n",
        b"---\nlicense: " + b" " * 60_000 + b"mit\n---\n",
        bytes(range(256)) * 200,
    ],
)
def test_what_is_no_front_matter_says_nothing(card: bytes) -> None:
    assert words_of(card, ASKED) == {}
