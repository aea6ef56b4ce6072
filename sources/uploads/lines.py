"""A look into files of lines: TXT, a text a line, and CoNLL, a word and its tag a line."""

from __future__ import annotations

from collections import Counter

from api_schemas.uploads import BadLine, ColumnInfo
from sources.label_forms.conll import Sentence, read_conll
from sources.label_forms.iob2 import first_break, type_of
from sources.lines import Lines
from sources.tables.column_stats import EXAMPLES, FEW
from sources.tables.column_stats import SHOWN as SHOWN_VALUE
from sources.tables.data_file import DataFile
from sources.uploads.looks import SHOWN_LINES, Found, cut


def look_into_texts(file: DataFile) -> Found:
    """Of a pinned TXT file. Raises ``dataset_invalid`` for one that is not UTF-8, or has no texts."""
    rows = blank = 0
    examples: dict[str, None] = {}
    for line in _lines(file):
        text = line.strip()
        rows, blank = rows + bool(text), blank + (not text)
        if text and len(examples) < EXAMPLES:
            examples.setdefault(cut(text, SHOWN_VALUE))
    if not rows:
        raise file.error("the file has no rows", "1")
    return Found(rows, columns=[ColumnInfo(name="text", type="text", nulls=blank, examples=list(examples))])


def look_into_sentences(file: DataFile) -> Found:
    """Of a pinned CoNLL file, a row a sentence. Raises as ``look_into_texts``."""
    rows, bad, lines = 0, 0, list[BadLine]()
    counts: Counter[str] = Counter()
    examples: dict[str, None] = {}
    reader = _lines(file)
    for sentence in read_conll(reader):
        file.check_time()
        fault = _fault(sentence)
        if fault is None:
            rows += 1
            counts.update(sentence.tags)
            if len(examples) < EXAMPLES:
                examples.setdefault(cut(" ".join(sentence.words), SHOWN_VALUE))
            continue
        bad += 1
        if len(lines) < SHOWN_LINES:
            lines.append(BadLine(line=fault[0], reason=fault[1], text=cut(" ".join(sentence.words))))
    if not rows:
        first = f": line {lines[0].line}, {lines[0].reason}" if lines else ""
        raise file.error(f"the file has no sentence that can be read{first}")
    columns = [
        ColumnInfo(name="words", type="list", nulls=0, examples=list(examples)),
        ColumnInfo(name="tags", type="list", nulls=0, distinct=len(counts), examples=sorted(counts)[:EXAMPLES]),
    ]
    tags = {"tags": dict(counts.most_common(FEW))}
    return Found(rows, columns=columns, label_counts=tags, bad_rows=bad, bad_lines=lines)


def _fault(sentence: Sentence) -> tuple[int, str] | None:
    """Line and reason of the first thing that is wrong."""
    if sentence.fault:
        return sentence.fault
    for line, tag in zip(sentence.lines, sentence.tags, strict=True):
        try:
            type_of(tag)
        except ValueError as error:
            return line, str(error)
    broken = first_break(sentence.tags)
    return None if broken is None else (sentence.lines[broken[0]], broken[1])


def _lines(file: DataFile) -> Lines:
    return Lines(file.path, file.name, param=file.param)
