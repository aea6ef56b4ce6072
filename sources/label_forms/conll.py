"""CoNLL files: a word and its columns a line, of which the last is the tag; an empty line ends a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from sources.lines import Lines

DOCUMENT = "-DOCSTART-"
#: Of a word, in characters, of a sentence, in words, and of a line, in columns: no model and no corpus has as many.
LONGEST_WORD, MOST_WORDS, MOST_COLUMNS = 1000, 20_000, 100
#: No other blank: words of the web have those of every alphabet in them.
BLANKS = re.compile(r"[ \t]+")


@dataclass
class Sentence:
    """``lines`` are the numbers of the lines of its words; ``fault`` is the first that cannot be read, and why."""

    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    fault: tuple[int, str] | None = None

    def __bool__(self) -> bool:
        return bool(self.words or self.fault)


def read_conll(lines: Lines) -> Iterator[Sentence]:
    """Those that cannot be read too. Raises ``dataset_invalid`` for what is no text."""
    sentence, width = Sentence(), 0
    for line in lines:
        text = line.strip(" \t\r\n")
        if not text:
            if sentence:
                yield sentence
                sentence = Sentence()
            continue
        columns = BLANKS.split(text, MOST_COLUMNS)
        if columns[0] == DOCUMENT or (not sentence and text.startswith("# ")):
            continue
        if fault := _fault(columns, width, len(sentence.words)):
            sentence.fault = sentence.fault or (lines.number, fault)
            continue
        width = len(columns)
        sentence.words.append(columns[0])
        sentence.tags.append(columns[-1])
        sentence.lines.append(lines.number)
    if sentence:
        yield sentence


def _fault(columns: list[str], width: int, words: int) -> str:
    found = len(columns)
    if found > MOST_COLUMNS:
        return f"the line has more than {MOST_COLUMNS} columns"
    if found < 2 or (width and found != width):
        right = f"those before it have {width}" if width else "a word and its tag are two"
        return f"the line has {found} column{'s' * (found != 1)}, and {right}"
    if len(columns[0]) > LONGEST_WORD:
        return f"a word of {len(columns[0])} characters; at most {LONGEST_WORD} are read"
    if words >= MOST_WORDS:
        return f"a sentence of more than {MOST_WORDS} words: an empty line ends each sentence"
    return ""
