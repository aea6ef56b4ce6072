"""Plain text to measure layers on, without labels: TXT, or the columns of a table."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

from api_schemas.errors import LayercutError
from api_schemas.pruning import CalibrationSpec
from api_schemas.read_spec import ReadSpec
from sources.lines import Lines
from sources.rows import Rows, TextRow, hash_files
from sources.settings import SourceSettings
from sources.tables.bounds import LOOK_SECONDS
from sources.tables.data_file import DataFile, allowed_file
from sources.tables.table import FORMATS, Table

PARAM = "/prune/calibration/dataset"
KINDS = (".txt", *FORMATS)
NO_TEXT = "the file has no texts: there is nothing to measure layers on"


def read_texts(spec: CalibrationSpec, settings: SourceSettings, seed: int) -> Rows:
    """A sample of ``spec.rows`` texts, drawn with ``seed`` and in the order of the file; their labels are zeros.

    The file may be larger than memory. Raises ``dataset_not_found``, ``dataset_not_allowed`` and ``dataset_invalid``.
    """
    with text_file(spec, settings).pinned() as file:
        return _sample(spec, file, seed)


def _sample(spec: CalibrationSpec, file: DataFile, seed: int) -> Rows:
    draw, kept, total = random.Random(seed), dict[int, tuple[int, TextRow]](), 0
    for total, text in enumerate(_texts(spec, file), start=1):
        # Vitter's algorithm R: each text so far is as likely as any other to be among those kept.
        place = total - 1 if total <= spec.rows else draw.randrange(total)
        if place < spec.rows:
            kept[place] = (total, text)
    if not kept:
        raise file.error(NO_TEXT, "1")
    texts = [text for _, text in sorted(kept.values())]
    source = file.name if len(texts) == total else f"{file.name} ({len(texts)} of {total} rows, seed {seed})"
    return Rows(texts, [0] * len(texts), source, hash_files([file.path]))


def check_texts(spec: CalibrationSpec, settings: SourceSettings, limit: int) -> CalibrationSpec:
    """Raise what ``read_texts`` would for the first ``limit`` rows; the answer has the way decided that it is read."""
    with text_file(spec, settings).within(LOOK_SECONDS).pinned() as file:
        return _check_texts(spec, file, limit)


def _check_texts(spec: CalibrationSpec, file: DataFile, limit: int) -> CalibrationSpec:
    if file.kind == ".txt":
        lines = Lines(file.path, file.name, param=PARAM)
        texts = 0
        for line in islice(lines, limit):
            file.check_time()
            texts += bool(line.strip())
        if not texts:
            raise file.error(NO_TEXT, "1")
        read = ReadSpec(delimiter=None, quote=None, escape=None, encoding="utf-8", bad_rows=spec.read.bad_rows)
        return spec.model_copy(update={"read": read})
    with Table(file, _columns(spec), None, spec.read, limit=limit) as table:
        _check(spec, table)
        return spec.model_copy(update={"read": table.read})


def text_file(spec: CalibrationSpec, settings: SourceSettings) -> DataFile:
    """The file of ``spec``, which is on text; it is not read."""
    file = allowed_file(spec.dataset or "", settings, PARAM)
    if not (file.path.is_file() and file.kind in KINDS):
        message = f"{file.name!r} is not a file of a known kind: {', '.join(KINDS)}"
        raise LayercutError("dataset_invalid", message, param=PARAM)
    if file.kind == ".txt" and spec.text_columns:
        raise LayercutError(
            "dataset_invalid", "a TXT file has no columns: each line is a text", param="/prune/calibration/text_columns"
        )
    return file


def _texts(spec: CalibrationSpec, file: DataFile) -> Iterator[TextRow]:
    if file.kind == ".txt":
        lines = Lines(file.path, file.name, param=PARAM)
        yield from ((line.strip(),) for line in lines if line.strip())
        return
    with Table(file, _columns(spec), None, spec.read) as table:
        _check(spec, table)
        for batch in table.batches():
            yield from (tuple(texts) for *texts, _, blank in batch if not blank)


def _check(spec: CalibrationSpec, table: Table) -> None:
    if table.profile.blank and spec.read.bad_rows == "refuse":
        raise table.no_text()


def _columns(spec: CalibrationSpec) -> list[str]:
    return spec.text_columns or ["text"]
