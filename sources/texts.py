"""Plain text to score layers on: TXT, JSONL, CSV or TSV, without labels."""

from __future__ import annotations

import random
from collections.abc import Iterator

from api_schemas.errors import LayercutError
from api_schemas.pruning import CalibrationSpec
from sources.datasets import DataFile, allowed_file, text_of
from sources.lines import Lines
from sources.rows import Rows, hash_files
from sources.settings import SourceSettings
from sources.tables import READERS, read_txt

PARAM = "/prune/calibration/dataset"
TEXT_READERS = {".txt": read_txt, **READERS}


def read_texts(spec: CalibrationSpec, settings: SourceSettings, seed: int) -> Rows:
    """A sample of ``spec.rows`` texts, drawn with ``seed`` and in the order of the file; their labels are zeros.

    The file may be larger than memory. Raises ``dataset_not_found``, ``dataset_not_allowed`` and ``dataset_invalid``.
    """
    file = text_file(spec, settings)
    lines = Lines(file.path, file.name, param=PARAM)
    draw, kept, total = random.Random(seed), dict[int, tuple[int, tuple[str, ...]]](), 0
    for total, text in enumerate(_texts(spec, file, lines), start=1):
        # Vitter's algorithm R: each text so far is as likely as any other to be among those kept.
        place = total - 1 if total <= spec.rows else draw.randrange(total)
        if place < spec.rows:
            kept[place] = (total, text)
    if not kept:
        raise _no_text(lines)
    texts = [text for _, text in sorted(kept.values())]
    source = file.name if len(texts) == total else f"{file.name} ({len(texts)} of {total} rows, seed {seed})"
    return Rows(texts, [0] * len(texts), source, hash_files([file.path]))


def check_texts(spec: CalibrationSpec, settings: SourceSettings, limit: int) -> None:
    """Raise what ``read_texts`` would for the first ``limit`` bytes of the file."""
    file = text_file(spec, settings)
    lines = Lines(file.path, file.name, param=PARAM, limit=limit)
    if not sum(1 for _ in _texts(spec, file, lines)) and not lines.cut:
        raise _no_text(lines)


def text_file(spec: CalibrationSpec, settings: SourceSettings) -> DataFile:
    """The file of ``spec``, which is on text; it is not read."""
    file = allowed_file(spec.dataset or "", settings, PARAM)
    if not (file.path.is_file() and file.kind in TEXT_READERS):
        known = ", ".join(TEXT_READERS)
        raise LayercutError("dataset_invalid", f"{file.name!r} is not a file of a known kind: {known}", param=PARAM)
    if file.kind == ".txt" and spec.text_columns:
        raise LayercutError(
            "dataset_invalid", "a TXT file has no columns: each line is a text", param="/prune/calibration/text_columns"
        )
    return file


def _texts(spec: CalibrationSpec, file: DataFile, lines: Lines) -> Iterator[tuple[str, ...]]:
    columns = spec.text_columns or ["text"]
    for line, values in TEXT_READERS[file.kind](lines, columns):
        if values is None:
            raise lines.error("the row has too few columns", line)
        yield tuple(text_of(lines, line, *cell) for cell in zip(columns, values, strict=True))


def _no_text(lines: Lines) -> LayercutError:
    return lines.error("the file has no texts: there is nothing to score layers on", max(1, lines.number))
