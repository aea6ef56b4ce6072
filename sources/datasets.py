"""The user's own table: which files, which rows, which labels, and which rows to score on."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api_schemas.errors import LayercutError
from api_schemas.task_spec import TaskSpec
from sources.lines import Lines
from sources.paths import inside_roots
from sources.rows import Rows, hash_files
from sources.settings import SourceSettings
from sources.tables import READERS

DEV_SHARE = 0.1
MAX_LABELS = 1000

TRAIN_STEMS = ("train",)
DEV_STEMS = ("dev", "validation", "valid")


@dataclass(frozen=True)
class Table:
    """The user's data. ``label_names`` are in id order; empty for a regression."""

    train: Rows
    dev: Rows
    label_names: tuple[str, ...]


@dataclass(frozen=True)
class DataFile:
    """A file or folder: its real ``path``, the ``name`` that it was asked for by, and the field that did."""

    path: Path
    name: str
    param: str

    @property
    def kind(self) -> str:
        # By the name that was given: a link into a content-addressed store points at a file without a suffix.
        return Path(self.name).suffix.lower()


@dataclass
class _Raw:
    """One file's rows before labels have ids; ``line`` is where each row starts."""

    lines: Lines
    numbers: list[int]
    texts: list[tuple[str, ...]]
    labels: list[Any]


def read_dataset(spec: TaskSpec, settings: SourceSettings, seed: int) -> Table:
    """``spec.dataset`` as rows to learn from and rows to score on.

    Without a dev file, a tenth of the rows, drawn with ``seed`` from every label alike, is kept aside. Raises
    ``dataset_not_found``, ``dataset_not_allowed`` and ``dataset_invalid`` (with file and line).
    """
    train_file, dev_file = table_files(spec, settings)
    train = _read(spec, train_file)
    names = _label_names(spec, train)
    rows = _rows(train, names)
    if dev_file is None:
        return _split(rows, names, seed)
    return Table(rows, _rows(_read(spec, dev_file), names), names)


def check_table(spec: TaskSpec, settings: SourceSettings, limit: int) -> None:
    """Raise what ``read_dataset`` would for the first ``limit`` bytes of each file.

    What takes the whole training file to know (its labels, its number of rows) is left out where it is longer.
    """
    train_file, dev_file = table_files(spec, settings)
    train = _read(spec, train_file, limit)
    dev = _read(spec, dev_file, limit) if dev_file else None
    if train.lines.cut:
        return
    names = _label_names(spec, train)
    rows = _rows(train, names)
    if dev is None:
        _split(rows, names, seed=0)
    else:
        _rows(dev, names)


def table_files(spec: TaskSpec, settings: SourceSettings) -> tuple[DataFile, DataFile | None]:
    """The training file, and the dev file if there is one; neither is read."""
    given = spec.dataset or ""
    train: DataFile | None = allowed_file(given, settings, "/task/dataset")
    dev = allowed_file(spec.dev, settings, "/task/dev") if spec.dev else None
    if train and train.path.is_dir():
        dev = dev or _member(train, DEV_STEMS, settings)
        train = _member(train, TRAIN_STEMS, settings)
    if train is None:
        known = ", ".join(f"train{suffix}" for suffix in READERS)
        raise LayercutError(
            "dataset_not_found", f"the folder {given!r} has no training file: {known}", param="/task/dataset"
        )
    for file in (train, dev):
        if file is not None and not (file.path.is_file() and file.kind in READERS):
            raise LayercutError(
                "dataset_invalid",
                f"{file.name!r} is not a file of a known kind: {', '.join(READERS)}",
                param=file.param,
            )
    if dev is not None and dev.path == train.path:
        raise LayercutError("dataset_invalid", "the dev file is the training file itself", param="/task/dev")
    return train, dev


def allowed_file(name: str, settings: SourceSettings, param: str) -> DataFile:
    """The file or folder of that name, where it lies under a root for data; raises as ``inside_roots`` does."""
    return DataFile(inside_roots(name, settings.data_roots, what="dataset", param=param), name, param)


def _member(folder: DataFile, stems: tuple[str, ...], settings: SourceSettings) -> DataFile | None:
    names = (f"{stem}{suffix}" for stem in stems for suffix in READERS)
    found = next((name for name in names if (folder.path / name).exists()), None)
    return None if found is None else allowed_file(f"{folder.name.rstrip('/')}/{found}", settings, folder.param)


def _read(spec: TaskSpec, file: DataFile, limit: int | None = None) -> _Raw:
    lines = Lines(file.path, file.name, param=file.param, limit=limit)
    raw = _Raw(lines, [], [], [])
    columns = (*spec.text_columns, spec.label_column or "")
    label_of = _number if spec.headline and spec.headline.regression else _label
    for line, values in READERS[file.kind](lines, columns):
        if values is None:
            raise lines.error("the row has too few columns", line)
        raw.numbers.append(line)
        raw.texts.append(tuple(text_of(lines, line, *cell) for cell in zip(columns, values[:-1], strict=False)))
        raw.labels.append(label_of(lines, line, columns[-1], values[-1]))
    if not raw.texts:
        raise lines.error("the file has no rows", max(1, lines.number))
    return raw


def text_of(lines: Lines, line: int, column: str, value: Any) -> str:
    """``value`` where it is a text with something in it."""
    if not isinstance(value, str):
        raise lines.error(f"{column!r} is not a text but {_short(value)}", line)
    if not value.strip():
        raise lines.error(f"{column!r} is empty", line)
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise lines.error(f"{column!r} has half a character (a lone surrogate)", line)
    return value


def _label(lines: Lines, line: int, column: str, value: Any) -> str:
    """A label as a string; JSON's true, 1 and 1.0 are "true", "1" and "1"."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, (str, int, float)):
        raise lines.error(f"label {column!r} is not a text or a number but {_short(value)}", line)
    label = str(value).strip()
    if not label:
        raise lines.error(f"label {column!r} is empty", line)
    return label


def _number(lines: Lines, line: int, column: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise lines.error(f"label {column!r} is not a number but {_short(value)}; the metric needs numbers", line)
    return number


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _label_names(spec: TaskSpec, raw: _Raw) -> tuple[str, ...]:
    """The labels in id order: whole numbers by size, anything else by alphabet. Empty for a regression."""
    found = set(raw.labels)
    if len(found) < 2:
        raise raw.lines.error(
            f"every row has the label {next(iter(found))!r}: there is nothing to learn", raw.numbers[0]
        )
    if spec.headline and spec.headline.regression:
        return ()
    if len(found) > MAX_LABELS:
        raise raw.lines.error(
            f"{spec.label_column!r} has {len(found)} different labels, more than {MAX_LABELS}: is it the right column?"
            " For numbers, ask for the metric pearson or spearman",
            raw.numbers[0],
        )
    try:
        return tuple(sorted(found, key=lambda label: (int(label), label)))
    except ValueError:
        return tuple(sorted(found))


def _rows(raw: _Raw, names: tuple[str, ...]) -> Rows:
    ids = {name: id for id, name in enumerate(names)}
    labels = raw.labels
    if names:
        for line, label in zip(raw.numbers, raw.labels, strict=True):
            if label not in ids:
                known = ", ".join(names[:20])
                raise raw.lines.error(f"label {label!r} is not in the training file, whose labels are: {known}", line)
        labels = [ids[label] for label in raw.labels]
    sha256 = "" if raw.lines.cut else hash_files([raw.lines.path])
    return Rows(raw.texts, labels, raw.lines.name, sha256)


def _split(rows: Rows, names: tuple[str, ...], seed: int) -> Table:
    dev = sorted(_dev_indexes(rows, stratify=bool(names), seed=seed))
    if not dev or len(dev) == len(rows):
        raise LayercutError(
            "dataset_invalid",
            f"{rows.source}: {len(rows)} rows are too few to keep some aside for scoring: give a dev file, or more rows"
            " of a label",
            param="/task/dataset",
        )
    aside = set(dev)
    train = (index for index in range(len(rows)) if index not in aside)
    return Table(
        rows.pick(train, f"{rows.source} (without the dev rows)"),
        rows.pick(dev, f"{rows.source} (a tenth, seed {seed})"),
        names,
    )


def _dev_indexes(rows: Rows, *, stratify: bool, seed: int) -> Iterator[int]:
    """A tenth of every label's rows; one at least of each that has two, and never all of it."""
    groups: dict[float, list[int]] = defaultdict(list)
    for index, label in enumerate(rows.labels):
        groups[label if stratify else 0].append(index)
    draw = random.Random(seed)
    for label in sorted(groups):
        group = groups[label]
        if len(group) > 1:
            yield from draw.sample(group, max(1, round(len(group) * DEV_SHARE)))
